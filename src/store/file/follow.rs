//! Reads a journal as it grows, beside the process that writes it, or none.
//!
//! A commit is shown when the segments themselves state that it is durable, which the next frame does, or a few milliseconds
//! later a frame of its own: what a power cut may take back is not shown. A processor that starts again may put a new file
//! in the place of the last segment, without a tail that was torn; so the file is opened by its name each time, and what
//! has been read ends with a whole group.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use super::disk::{Fault, Folder};
use super::reader::{FileReader, NOT_POISONED, commit_of};
use super::scan::{Chain, Scan};
use super::segment::{self, HEADER_BYTES, Header};
use crate::model::{ChainHash, Commit, Position};
use crate::store::{CommitReader, ReadError, StoreId};

/// Goes on behind what a [`FileReader`] sees.
pub struct Follower {
    folder: Folder,
    id: StoreId,
    /// The first position of the segment that is read.
    first: Position,
    /// Where the next frame begins in it.
    offset: u64,
    chain: Chain,
    /// The last position that the segments state to be durable.
    synced: Option<Position>,
    /// Read, and not known to be durable.
    held: VecDeque<Commit>,
}

impl FileReader {
    /// Follows the journal from the end of what this reader sees.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn follow(&self) -> Result<Follower, ReadError> {
        let (first, offset, last) = {
            let view = self.shared.view.read().expect(NOT_POISONED);
            (view.first, view.end, view.last)
        };
        let hash = match last {
            Some(last) => self.get(last)?.hash,
            None => ChainHash::of_store(self.shared.id.store),
        };
        let chain = Chain { position: Position::after(last), hash };
        let (folder, id) = (self.shared.folder.clone(), self.shared.id);
        Ok(Follower { folder, id, first, offset, chain, synced: last, held: VecDeque::new() })
    }
}

impl Follower {
    /// The commits that have become durable since it was called last. Never waits.
    ///
    /// # Errors
    /// [`ReadError`]: the journal is not the one that was followed, or is damaged.
    pub fn look(&mut self) -> Result<Vec<Commit>, ReadError> {
        self.read_on()?;
        while self.goes_on_in_next_segment()? {
            self.read_on()?;
        }
        let count = self.held.partition_point(|commit| Some(commit.position) <= self.synced);
        Ok(self.held.drain(..count).collect())
    }

    /// Reads the whole frames behind what was read.
    fn read_on(&mut self) -> Result<(), Fault> {
        let file = Arc::new(self.folder.open(&segment::log_name(self.first))?);
        let len = file.len()?;
        if len < self.offset {
            let what = "the journal has become shorter than what was read from it";
            return Err(file.damage(len, self.chain.position.get(), what).into());
        }
        let mut scan = Scan::new(file.clone(), self.offset, len);
        let (mut chain, mut group) = (self.chain, Vec::new());
        loop {
            let (offset, position) = (scan.offset(), chain.position);
            // What is no frame is one that is being written, or a torn one that the next start cuts off.
            let Some(Ok(frame)) = scan.next()? else { return Ok(()) };
            let is_commit = chain.follow(&frame).map_err(|what| file.damage(offset, position.get(), what))?;
            let (stated, goes_on) = (frame.synced, frame.goes_on);
            if is_commit {
                group.push(commit_of(&frame, Bytes::copy_from_slice(frame.json), &file, offset, position)?);
            }
            self.synced = self.synced.max(stated);
            if !goes_on {
                self.held.extend(group.drain(..));
                (self.offset, self.chain) = (scan.offset(), chain);
            }
        }
    }

    /// Whether there is a segment that begins where this one ends. It is then read from its beginning.
    fn goes_on_in_next_segment(&mut self) -> Result<bool, Fault> {
        let next = self.chain.position;
        if next == self.first {
            return Ok(false);
        }
        let file = match self.folder.open(&segment::log_name(next)) {
            Err(failed) if failed.is_not_found() => return Ok(false),
            file => Arc::new(file?),
        };
        let header = Header::read(&file, next)?;
        if header.id != self.id || header.previous != self.chain.hash {
            return Err(file.damage(0, next.get(), "the segment does not continue the one before").into());
        }
        // A segment's existence proves that all before it is durable.
        self.synced = self.synced.max(Position::new(next.get() - 1));
        (self.first, self.offset) = (next, HEADER_BYTES as u64);
        Ok(true)
    }
}

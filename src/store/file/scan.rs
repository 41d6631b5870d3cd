//! Reads a segment's frames one after the other, in large pieces.

use std::sync::Arc;

use super::disk::{Failed, Fault, NamedFile};
use super::frame::{self, Frame, FrameError, MARKER};
use super::segment::HEADER_BYTES;
use crate::model::{ChainHash, Position};

/// Bytes that are read at once.
const PIECE_BYTES: usize = 256 * 1024;

/// A place in a segment, and what has been read ahead of it.
pub(super) struct Scan {
    file: Arc<NamedFile>,
    /// Where the next frame begins.
    offset: u64,
    /// Where the scan ends. Taken once: a running writer may append behind it at any moment.
    end: u64,
    buffer: Vec<u8>,
    /// How much of the buffer is behind us.
    passed: usize,
}

impl Scan {
    pub(super) fn new(file: Arc<NamedFile>, offset: u64, end: u64) -> Scan {
        Scan { file, offset, end, buffer: Vec::new(), passed: 0 }
    }

    pub(super) fn file(&self) -> &Arc<NamedFile> {
        &self.file
    }

    /// Where the next frame begins.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The next frame. Goes on only if it is one. `None`: the end.
    pub(super) fn next(&mut self) -> Result<Option<Result<Frame<'_>, FrameError>>, Failed> {
        if self.end <= self.offset {
            return Ok(None);
        }
        self.fill(frame::HEAD_BYTES)?;
        self.fill(frame::bytes_needed(&self.buffer[self.passed..]))?;
        let decoded = frame::decode(&self.buffer[self.passed..]);
        if let Ok(frame) = &decoded {
            self.passed += frame.bytes();
            self.offset += frame.bytes() as u64;
        }
        Ok(Some(decoded))
    }

    /// Whether nothing but zeros follows.
    pub(super) fn only_zeros_ahead(&self) -> Result<bool, Failed> {
        let mut offset = self.offset;
        while offset < self.end {
            let left = usize::try_from(self.end - offset).unwrap_or(usize::MAX);
            let piece = self.file.read(offset, left.min(PIECE_BYTES))?;
            if piece.is_empty() || piece.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            offset += piece.len() as u64;
        }
        Ok(true)
    }

    /// Goes on to the next place behind this one where a frame may begin. `false`: there is none.
    pub(super) fn skip_to_marker(&mut self) -> Result<bool, Failed> {
        self.pass(1);
        while self.offset < self.end {
            self.fill(MARKER.len())?;
            let ahead = &self.buffer[self.passed..];
            match ahead.windows(MARKER.len()).position(|window| window == MARKER) {
                Some(distance) => {
                    self.pass(distance);
                    return Ok(true);
                }
                // The last bytes may be the beginning of a marker that goes on in the next piece.
                None => self.pass(ahead.len().saturating_sub(MARKER.len() - 1).max(1)),
            }
        }
        Ok(false)
    }

    fn pass(&mut self, bytes: usize) {
        self.passed = (self.passed + bytes).min(self.buffer.len());
        self.offset += bytes as u64;
    }

    /// Sees to it that so many bytes are ahead in the buffer, or all that there are.
    fn fill(&mut self, wanted: usize) -> Result<(), Failed> {
        let ahead = self.buffer.len() - self.passed;
        let left = usize::try_from(self.end - self.offset).unwrap_or(usize::MAX);
        if wanted.min(left) <= ahead {
            return Ok(());
        }
        self.buffer.drain(..self.passed);
        self.passed = 0;
        let piece = wanted.max(PIECE_BYTES).min(left) - ahead;
        self.file.read_onto(&mut self.buffer, self.offset + ahead as u64, piece)
    }
}

/// What a scan of a whole sealed segment found.
pub(super) struct Sealed {
    /// Where each commit's frame begins.
    pub(super) offsets: Vec<u64>,
    /// The chain up to its last commit.
    pub(super) hash: ChainHash,
}

/// Reads a sealed segment to its end. Everything in it is known to be synced, so whatever is no frame is damage.
pub(super) fn sealed(file: Arc<NamedFile>, first: Position, previous: ChainHash) -> Result<Sealed, Fault> {
    let end = file.len()?;
    let mut scan = Scan::new(file, HEADER_BYTES as u64, end);
    let mut chain = Chain { position: first, hash: previous };
    let mut offsets = Vec::new();
    loop {
        let (offset, position) = (scan.offset(), chain.position);
        match scan.next()? {
            None => return Ok(Sealed { offsets, hash: chain.hash }),
            Some(frame) => match frame.map_err(|error| error.to_string()).and_then(|frame| chain.follow(&frame)) {
                Ok(true) => offsets.push(offset),
                Ok(false) => {}
                Err(what) => return Err(scan.file().damage(offset, position.get(), what).into()),
            },
        }
    }
}

/// Where a scan stands in the chain.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chain {
    /// The position that comes next.
    pub(super) position: Position,
    /// The chain up to the commit before it.
    pub(super) hash: ChainHash,
}

impl Chain {
    /// Whether a frame is the next commit (`true`) or a statement in the right place.
    pub(super) fn follow(&mut self, frame: &Frame<'_>) -> Result<bool, String> {
        if frame.synced.is_some_and(|synced| self.position <= synced) {
            return Err("the frame calls a position durable that was not written yet".into());
        }
        let hash = if frame.is_statement() { self.hash } else { self.hash.link(frame.json) };
        if hash != frame.hash {
            return Err("the chain hash does not follow from the commit before".into());
        }
        if frame.is_statement() {
            return Ok(false);
        }
        *self = Chain { position: self.position.next(), hash };
        Ok(true)
    }
}

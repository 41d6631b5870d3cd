//! The writing half, without a thread: `append` encodes, `sync` writes and makes durable. `FileStore` drives it in
//! production, a simulation drives it directly.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::OpenError;
use super::disk::{Disk, Failed, Folder, NamedFile};
use super::frame;
use super::offsets;
use super::proof::Proof;
use super::reader::{FileReader, NOT_POISONED, Shared, View};
use super::recover;
use super::scan::Sealed;
use super::segment::{self, HEADER_BYTES, Header};
use crate::model::groups::GroupPlace;
use crate::model::{Commit, Position};
use crate::store::{AppendError, Durable, StoreId, Tip};

/// Bytes after which a segment gets no more commits.
pub const SEGMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Encoded bytes that are handed to the operating system without waiting for `sync`.
const BUFFER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Zeros that are written behind a small group which makes the file longer. The groups after it overwrite them, and
/// their fsyncs need not make a new length and new blocks safe: 95 us instead of 145 (ext4, 700 bytes each).
const PREPARED_BYTES: u64 = 128 * 1024;

/// Larger groups get none behind them: they wait for the disk's bandwidth, and zeros would take their share of it.
const SMALL_GROUP_BYTES_MAX: usize = 16 * 1024;

/// The journal of one partition, open for writing. The caller sees to it that there is only one (`FileStore` takes a
/// lock).
pub struct Journal {
    shared: Arc<Shared>,
    file: Arc<NamedFile>,
    proof: Proof,
    /// First position of the segment.
    first: Position,
    /// Where what is written to the segment ends.
    end: u64,
    /// Where the segment's file ends; up to there are zeros.
    file_end: u64,
    /// Encoded frames that are not written yet. Used again and again.
    buffer: Vec<u8>,
    /// Where the commits begin that are not durable yet.
    pending: Vec<u64>,
    /// The last commit appended.
    tip: Tip,
    synced: Option<Position>,
    /// The last durable position that the segments state themselves.
    stated: Option<Position>,
    segment_bytes_max: u64,
    failed: Option<AppendError>,
}

impl Journal {
    /// Opens the journal in a folder, makes it if there is none, and brings what a crash left behind in order.
    ///
    /// `proven`: a position that a checkpoint or the feed knows to be durable.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        id: StoreId,
        proven: Option<Position>,
        segment_bytes_max: u64,
    ) -> Result<Journal, OpenError> {
        let folder = Folder::new(disk, dir);
        folder.create_itself()?;
        let survey = recover::open(&folder, id, proven)?;
        let (file, first, end, tip) = (survey.last.file.clone(), survey.last.first, survey.last.end, survey.tip);
        let file_end = file.len()?;
        let proof = Proof::open(&folder, id)?;
        if let Some(durable) = tip.position {
            proof.write(durable)?;
            // Nothing else may ever come, and an fsync of it may have failed before: then its page only seems to be safe.
            proof.sync()?;
        }
        Ok(Journal {
            shared: Arc::new(Shared::new(folder, survey)),
            file,
            proof,
            first,
            end,
            file_end,
            buffer: Vec::new(),
            pending: Vec::new(),
            tip,
            synced: tip.position,
            stated: tip.position,
            segment_bytes_max,
            failed: None,
        })
    }

    /// The last commit appended, durable or not.
    pub fn tip(&self) -> Tip {
        self.tip
    }

    /// A reader of what is durable.
    pub fn reader(&self) -> FileReader {
        FileReader { shared: self.shared.clone() }
    }

    /// Takes commits over, groups as a whole. Promises nothing until [`sync`](Journal::sync).
    ///
    /// # Errors
    /// [`AppendError`]: final, for every later call too.
    ///
    /// # Panics
    /// If a commit's position does not follow, or it tears an atomic batch. Its chain hash is the caller's to check.
    pub fn append(&mut self, commits: &[Commit]) -> Result<(), AppendError> {
        self.unless_failed(|journal| {
            let mut group = GroupPlace::default();
            for commit in commits {
                assert_eq!(commit.position, Position::after(journal.tip.position), "the journal has no gaps");
                journal.roll_if_due()?;
                journal.pending.push(journal.end + journal.buffer.len() as u64);
                let goes_on = !group.go_on(commit).expect("atomic batches are appended one behind the other");
                frame::encode(&mut journal.buffer, journal.synced, &commit.hash, commit.json(), goes_on);
                journal.tip = Tip::of(commit);
                if BUFFER_BYTES_MAX <= journal.buffer.len() {
                    journal.write(0)?;
                }
            }
            Ok(())
        })
    }

    /// Makes everything durable that was appended, with one write and one fsync unless it is a great deal, and notes that in
    /// the proof with a small write that is not synced. Returns the last durable position; `None`: the store is empty.
    ///
    /// # Errors
    /// [`AppendError`]: final, for every later call too. Nobody knows what the disk holds.
    pub fn sync(&mut self) -> Result<Option<Durable<Position>>, AppendError> {
        self.unless_failed(|journal| {
            if journal.pending.is_empty() {
                return Ok(journal.synced.map(Durable));
            }
            journal.stated = journal.synced; // Every frame of this write states it.
            journal.write(journal.zeros_due())?;
            journal.file.sync_data()?;
            let durable = journal.tip.position.expect("something was appended");
            // Before anybody is told: whatever was promised is then proven, though the process may be killed.
            journal.proof.write(durable)?;
            journal.synced = Some(durable);
            journal.publish();
            Ok(journal.synced.map(Durable))
        })
    }

    /// The last durable position, unless the segments themselves state it already.
    pub fn unstated(&self) -> Option<Position> {
        self.synced.filter(|_| self.stated < self.synced)
    }

    /// Appended bytes that the next [`sync`](Journal::sync) makes durable.
    pub fn unsynced_bytes(&self) -> u64 {
        self.pending.first().map_or(0, |first| self.end + self.buffer.len() as u64 - first)
    }

    /// Writes down, and syncs, that everything is durable, so that damage to the last commits is known as such and not
    /// taken for a torn tail. The next frame would say it too; this is for when none follows soon.
    ///
    /// # Errors
    /// [`AppendError`]: final, for every later call too.
    pub fn state_synced(&mut self) -> Result<(), AppendError> {
        self.unless_failed(|journal| {
            if journal.unstated().is_none() || !journal.pending.is_empty() {
                return Ok(());
            }
            frame::encode_statement(&mut journal.buffer, journal.synced, &journal.tip.hash);
            // Without zeros: whether these bytes are safe is not asked again, unlike those of a commit (`recover::confirm`).
            journal.write(0)?;
            journal.file.sync_data()?;
            journal.proof.sync()?;
            journal.stated = journal.synced;
            journal.publish();
            Ok(())
        })
    }

    /// Makes safe what the proof says. [`state_synced`](Journal::state_synced) does too; this is for when something always
    /// follows.
    ///
    /// # Errors
    /// [`AppendError`]: final, for every later call too.
    pub fn sync_proof(&mut self) -> Result<(), AppendError> {
        self.unless_failed(|journal| journal.proof.sync())
    }

    /// After a failed write or fsync nobody knows what the disk holds, so nothing is tried again.
    fn unless_failed<T>(&mut self, step: impl FnOnce(&mut Journal) -> Result<T, Failed>) -> Result<T, AppendError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.shared.set_busy_since(Some(Instant::now()));
        let done = step(self);
        self.shared.set_busy_since(None);
        done.map_err(|failed| {
            let error = AppendError::from(failed);
            self.failed = Some(error.clone());
            error
        })
    }

    /// Writes what is encoded, and so many zeros behind it.
    fn write(&mut self, zeros: usize) -> Result<(), Failed> {
        let frames = self.buffer.len();
        self.buffer.resize(frames + zeros, 0);
        self.file.write_at(&self.buffer, self.end)?;
        self.file_end = self.file_end.max(self.end + self.buffer.len() as u64);
        self.end += frames as u64;
        self.buffer.clear();
        Ok(())
    }

    /// How many zeros are to be written behind what is encoded. Never beyond the segment, so that a full one has none.
    fn zeros_due(&self) -> usize {
        let end = self.end + self.buffer.len() as u64;
        if end <= self.file_end || SMALL_GROUP_BYTES_MAX < self.buffer.len() {
            return 0;
        }
        PREPARED_BYTES.min(self.segment_bytes_max.saturating_sub(end)) as usize
    }

    /// Shows the readers what has become durable.
    fn publish(&mut self) {
        let mut view = self.shared.view.write().expect(NOT_POISONED);
        view.offsets.append(&mut self.pending);
        view.end = self.end;
        view.last = self.synced;
        view.syncs += 1;
    }

    /// Goes on to a new segment when this one is full. Only between two syncs: a segment's existence proves that all
    /// before it is durable.
    fn roll_if_due(&mut self) -> Result<(), Failed> {
        if self.end < self.segment_bytes_max.max(self.file_end)
            || !self.pending.is_empty()
            || self.synced < Some(self.first)
        {
            return Ok(());
        }
        let first = Position::after(self.tip.position);
        let folder = &self.shared.folder;
        let offsets = self.shared.view.read().expect(NOT_POISONED).offsets.clone();
        self.file = Arc::new(segment::create(folder, &Header::new(self.shared.id, first, self.tip.hash))?);
        // After the segment has its name: offsets beside a segment prove that another one followed it.
        offsets::write(folder, self.first, self.end, &Sealed { offsets, hash: self.tip.hash })?;
        (self.end, self.file_end) = (HEADER_BYTES as u64, HEADER_BYTES as u64);
        {
            let mut view = self.shared.view.write().expect(NOT_POISONED);
            view.sealed.push(self.first);
            let View { first: view_first, file, offsets, end, .. } = &mut *view;
            (*view_first, *file, *end) = (first, self.file.clone(), self.end);
            offsets.clear();
        }
        self.first = first;
        // The new segment says by its existence that everything before it is durable.
        self.stated = self.synced;
        Ok(())
    }
}

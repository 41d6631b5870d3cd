//! Reads commits out of the segments: of a running journal, or of a folder that somebody else may be writing to.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Instant;

use bytes::Bytes;
use lru::LruCache;

use super::OpenError;
use super::disk::{Disk, Fault, Folder, NamedFile, OsDisk};
use super::frame::{self, Frame};
use super::lock;
use super::offsets::{self, Offsets};
use super::recover::{self, Survey};
use super::scan::Scan;
use super::segment::{self, HEADER_BYTES, Header};
use crate::model::limits::COMMIT_BYTES_MAX;
use crate::model::{Change, Commit, Position};
use crate::store::{CommitReader, Damage, ReadError, Recorded, StoreId};

/// Sealed segments that are kept open; each takes two of the 1,024 files that a process may usually have. 128 of them
/// hold 8 GiB of commits.
const OPEN_SEGMENTS_MAX: NonZeroUsize = NonZeroUsize::new(128).expect("128 is not 0");

/// A sealed segment, open.
pub(super) struct SealedSegment {
    pub(super) log: Arc<NamedFile>,
    first: Position,
    offsets: Offsets,
    pub(super) end: u64,
}

impl SealedSegment {
    pub(super) fn open(folder: &Folder, first: Position) -> Result<SealedSegment, Fault> {
        let log = Arc::new(folder.open(&segment::log_name(first))?);
        let header = Header::read(&log, first)?;
        let offsets = offsets::load(folder, first, header.previous, &log)?;
        let end = log.len()?;
        Ok(SealedSegment { log, first, offsets, end })
    }

    /// Where a commit's frame begins, and where the next commit's does.
    fn place(&self, position: Position) -> Result<(u64, u64), Fault> {
        let place = self.offsets.of(position.get() - self.first.get())?;
        let (start, next) =
            place.ok_or_else(|| self.log.damage(self.end, position.get(), "the segment ends before"))?;
        Ok((start, next.unwrap_or(self.end)))
    }

    pub(super) fn get(&self, position: Position) -> Result<Commit, Fault> {
        let (start, end) = self.place(position)?;
        read_commit(&self.log, start, end, position)
    }
}

/// Reads the commit whose frame begins at an offset. `end`: where the next commit's frame begins, or the file ends.
pub(super) fn read_commit(file: &NamedFile, start: u64, end: u64, position: Position) -> Result<Commit, Fault> {
    const FRAME_BYTES_MAX: usize = frame::HEAD_BYTES + COMMIT_BYTES_MAX;
    let length =
        usize::try_from(end.saturating_sub(start)).map_or(FRAME_BYTES_MAX, |length| length.min(FRAME_BYTES_MAX));
    let bytes = Bytes::from(file.read(start, length)?);
    let frame = frame::decode(&bytes).map_err(|error| file.damage(start, position.get(), error.to_string()))?;
    let json = bytes.slice_ref(frame.json);
    Ok(commit_of(&frame, json, file, start, position)?)
}

/// The commit in a frame, if it is the one that belongs there.
pub(super) fn commit_of(
    frame: &Frame<'_>,
    json: Bytes,
    file: &NamedFile,
    offset: u64,
    position: Position,
) -> Result<Commit, Damage> {
    let damage = |what: &str| file.damage(offset, position.get(), what);
    if frame.is_statement() {
        return Err(damage("no commit is recorded here"));
    }
    let commit = Commit::from_json(json, frame.hash)
        .map_err(|error| Damage { source: Some(error), ..damage("what is recorded here is no commit") })?;
    if commit.position != position {
        return Err(damage(&format!("the commit recorded here has position {}", commit.position)));
    }
    Ok(commit)
}

/// What the writer of a journal and its readers share.
pub(super) struct Shared {
    pub(super) folder: Folder,
    pub(super) id: StoreId,
    pub(super) view: RwLock<View>,
    opened: Mutex<LruCache<Position, Arc<SealedSegment>>>,
    busy_since: Mutex<Option<Instant>>,
}

/// What may be read.
pub(super) struct View {
    /// First positions of the sealed segments, ascending.
    pub(super) sealed: Vec<Position>,
    /// First position of the segment that is being written.
    pub(super) first: Position,
    pub(super) file: Arc<NamedFile>,
    /// Where its durable commits begin.
    pub(super) offsets: Vec<u64>,
    /// Where its durable frames end.
    pub(super) end: u64,
    /// The last durable position.
    pub(super) last: Option<Position>,
    /// Fsyncs of frames since the journal was opened.
    pub(super) syncs: u64,
}

/// A piece of a segment that can be read in one go.
struct Stretch {
    file: Arc<NamedFile>,
    start: u64,
    end: u64,
    /// The last position in it.
    last: Position,
}

pub(super) const NOT_POISONED: &str = "nobody panics while holding this lock";

impl Shared {
    pub(super) fn new(folder: Folder, survey: Survey) -> Shared {
        let Survey { id, sealed, last, tip, .. } = survey;
        let view = View {
            sealed,
            first: last.first,
            file: last.file,
            offsets: last.offsets,
            end: last.end,
            last: tip.position,
            syncs: 0,
        };
        let opened = Mutex::new(LruCache::new(OPEN_SEGMENTS_MAX));
        Shared { folder, id, view: RwLock::new(view), opened, busy_since: Mutex::new(None) }
    }

    pub(super) fn set_busy_since(&self, since: Option<Instant>) {
        *self.busy_since.lock().expect(NOT_POISONED) = since;
    }

    fn opened(&self, first: Position) -> Result<Arc<SealedSegment>, Fault> {
        if let Some(segment) = self.opened.lock().expect(NOT_POISONED).get(&first) {
            return Ok(segment.clone());
        }
        // Not under the lock: reading the offsets takes a while, and the other readers need not wait for it.
        let segment = Arc::new(SealedSegment::open(&self.folder, first)?);
        self.opened.lock().expect(NOT_POISONED).put(first, segment.clone());
        Ok(segment)
    }

    fn get(&self, position: Position) -> Result<Commit, ReadError> {
        let (file, start, end) = {
            let view = self.view.read().expect(NOT_POISONED);
            if view.last < Some(position) {
                return Err(ReadError::Absent(position));
            }
            if position < view.first {
                let first = view.sealed_with(position);
                drop(view);
                return Ok(self.opened(first)?.get(position)?);
            }
            let (start, end) = view.place(position);
            (view.file.clone(), start, end)
        };
        Ok(read_commit(&file, start, end, position)?)
    }

    /// The rest of a durable position's segment.
    fn stretch(&self, position: Position) -> Result<Stretch, Fault> {
        let (first, next) = {
            let view = self.view.read().expect(NOT_POISONED);
            if view.first <= position {
                let last = view.last.expect("the position is durable, so there is a last one");
                return Ok(Stretch { file: view.file.clone(), start: view.place(position).0, end: view.end, last });
            }
            let first = view.sealed_with(position);
            let next = view.sealed.iter().copied().find(|next| first < *next).unwrap_or(view.first);
            (first, next)
        };
        let segment = self.opened(first)?;
        let last = Position::new(next.get() - 1).expect("the next segment begins behind a position");
        let start = if position == first { HEADER_BYTES as u64 } else { segment.place(position)?.0 };
        Ok(Stretch { file: segment.log.clone(), start, end: segment.end, last })
    }
}

impl View {
    /// The sealed segment that holds a position.
    fn sealed_with(&self, position: Position) -> Position {
        let behind = self.sealed.partition_point(|first| *first <= position);
        self.sealed[behind.checked_sub(1).expect("the first segment begins with position 1")]
    }

    /// Where a commit of the segment being written begins, and where the next one does.
    fn place(&self, position: Position) -> (u64, u64) {
        let index = usize::try_from(position.get() - self.first.get()).expect("the offsets are in memory");
        (self.offsets[index], self.offsets.get(index + 1).copied().unwrap_or(self.end))
    }
}

/// Reads the commits of a file store.
#[derive(Clone)]
pub struct FileReader {
    pub(super) shared: Arc<Shared>,
}

impl FileReader {
    /// How often the writer has made frames durable since it opened the journal; 0 without a writer.
    pub fn syncs(&self) -> u64 {
        self.shared.view.read().expect(NOT_POISONED).syncs
    }

    /// Since when the writer has been at its disk; `None`: it is not, or there is no writer.
    pub fn writer_busy_since(&self) -> Option<Instant> {
        *self.shared.busy_since.lock().expect(NOT_POISONED)
    }

    /// Opens the journal in a folder without writing to it, beside a running writer or without one.
    ///
    /// It sees what is valid now: the commits up to the last whole frame. The last ones of a running writer may not be
    /// durable yet. Later ones do not appear.
    ///
    /// # Errors
    /// [`OpenError::Absent`] if there is no journal; otherwise as for a writer, without the lock.
    pub fn open_read_only(dir: &Path) -> Result<FileReader, OpenError> {
        FileReader::open_read_only_on(Arc::new(OsDisk), dir)
    }

    /// The same, on another disk.
    ///
    /// # Errors
    /// As [`FileReader::open_read_only`].
    pub fn open_read_only_on(disk: Arc<dyn Disk>, dir: &Path) -> Result<FileReader, OpenError> {
        let folder = Folder::new(disk, dir);
        let survey = recover::survey(&folder, None, None, false)?;
        Ok(FileReader { shared: Arc::new(Shared::new(folder, survey)) })
    }

    /// Which store this is.
    pub fn id(&self) -> StoreId {
        self.shared.id
    }

    /// What is missing here if a position is known to be durable; `None`: nothing.
    pub fn lacks(&self, synced: Position) -> Option<Damage> {
        let view = self.shared.view.read().expect(NOT_POISONED);
        let what = format!("the journal ends, but position {synced} was synced");
        (view.last < Some(synced)).then(|| view.file.damage(view.end, Position::after(view.last).get(), what))
    }

    /// Whether a process writes to it now.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn writer_is_running(&self) -> std::io::Result<bool> {
        lock::is_held(self.shared.folder.path())
    }
}

impl CommitReader for FileReader {
    fn get(&self, position: Position) -> Result<Commit, ReadError> {
        self.shared.get(position)
    }

    fn read(&self, from: Position) -> impl Iterator<Item = Result<Commit, ReadError>> + Send {
        Commits { shared: self.shared.clone(), next: from, upto: self.last(), stretch: None }
    }

    fn last(&self) -> Option<Position> {
        self.shared.view.read().expect(NOT_POISONED).last
    }

    /// Every frame is checked as in [`CommitReader::read`], and nothing is copied: twice as fast.
    fn changes<E: From<ReadError>>(&self, mut each: impl FnMut(Recorded<'_>) -> Result<(), E>) -> Result<(), E> {
        let upto = self.last();
        let mut position = Position::FIRST;
        while Some(position) <= upto {
            let Stretch { file, start, end, last } = self.shared.stretch(position).map_err(ReadError::from)?;
            let mut scan = Scan::new(file.clone(), start, end);
            while position <= last && Some(position) <= upto {
                let offset = scan.offset();
                let damage = |what: &str| file.damage(offset, position.get(), what);
                let frame = match scan.next().map_err(|failed| ReadError::from(Fault::from(failed)))? {
                    None => return Err(ReadError::from(damage("the segment ends before")).into()),
                    Some(frame) => frame.map_err(|error| ReadError::from(damage(&error.to_string())))?,
                };
                if frame.is_statement() {
                    continue;
                }
                let change = Change::from_json(frame.json).map_err(|error| {
                    ReadError::from(Damage { source: Some(error), ..damage("what is recorded here is no commit") })
                })?;
                if change.position != position {
                    let what = format!("the commit recorded here has position {}", change.position);
                    return Err(ReadError::from(damage(&what)).into());
                }
                each(Recorded { json: frame.json, hash: frame.hash, change })?;
                position = position.next();
            }
        }
        Ok(())
    }
}

/// The commits from a position on.
struct Commits {
    shared: Arc<Shared>,
    next: Position,
    /// The last one to be read; `None`: no more.
    upto: Option<Position>,
    /// Where the next commit is read, and the last position there.
    stretch: Option<(Scan, Position)>,
}

impl Iterator for Commits {
    type Item = Result<Commit, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.upto < Some(self.next) {
            return None;
        }
        let read = self.read_next();
        match &read {
            Ok(commit) => self.next = commit.position.next(),
            Err(_) => self.upto = None,
        }
        Some(read.map_err(ReadError::from))
    }
}

impl Commits {
    fn read_next(&mut self) -> Result<Commit, Fault> {
        let position = self.next;
        if self.stretch.as_ref().is_none_or(|(_, last)| *last < position) {
            let Stretch { file, start, end, last } = self.shared.stretch(position)?;
            self.stretch = Some((Scan::new(file, start, end), last));
        }
        let (scan, _) = self.stretch.as_mut().expect("it was made above");
        next_commit(scan, position)
    }
}

/// The next commit of a scan, which must be the one at a position.
pub(super) fn next_commit(scan: &mut Scan, position: Position) -> Result<Commit, Fault> {
    let file = scan.file().clone();
    loop {
        let offset = scan.offset();
        let frame = match scan.next()? {
            None => return Err(file.damage(offset, position.get(), "the segment ends before").into()),
            Some(frame) => frame.map_err(|error| file.damage(offset, position.get(), error.to_string()))?,
        };
        if !frame.is_statement() {
            return Ok(commit_of(&frame, Bytes::copy_from_slice(frame.json), &file, offset, position)?);
        }
    }
}

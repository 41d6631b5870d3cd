//! What lies in the folder when a journal is opened, and what of it can be relied on.
//!
//! Only the last segment is read. Everything before it was synced before the last segment got its name, so whatever is
//! not proven to be durable lies there: a power cut or a crash can have torn nothing else. Of the sealed segments it is
//! checked that none is missing and that each continues the chain of the one before; their frames are checked when they
//! are read, and all together by `verify`.
//!
//! The last segment ends where its file does, or where nothing but zeros follows: those were written beforehand. Any other
//! place p in it that is no frame is a torn tail only if nothing says that p was synced: no checkpoint or feed, not the
//! [proof](super::proof) beside the segments, and no frame behind it. Valid frames behind it alone prove nothing, for the
//! pages of one unsynced write may survive in any order. Otherwise something that was promised is gone: damage.

use std::sync::Arc;

use super::OpenError;
use super::disk::{Failed, Fault, Folder, NamedFile};
use super::frame;
use super::offsets;
use super::proof;
use super::reader;
use super::scan::{self, Chain, Scan};
use super::segment::{self, HEADER_BYTES, Header, UNFINISHED};
use crate::model::{ChainHash, Position};
use crate::store::{StoreId, Tip};

/// The segments of a store, as they were found.
pub(super) struct Survey {
    pub(super) id: StoreId,
    /// First positions of the sealed segments.
    pub(super) sealed: Vec<Position>,
    pub(super) last: Tail,
    pub(super) tip: Tip,
}

/// The last segment, up to its last valid frame.
pub(super) struct Tail {
    pub(super) file: Arc<NamedFile>,
    pub(super) first: Position,
    /// Where its commits begin.
    pub(super) offsets: Vec<u64>,
    /// Where the frame of its last commit ends, or its header.
    commits_end: u64,
    /// Where its last valid frame ends.
    pub(super) end: u64,
    /// Whether something other than zeros is behind that.
    pub(super) torn: bool,
    /// The last position that the segments themselves state to be durable.
    pub(super) synced: Option<Position>,
    /// The chain up to its last commit.
    hash: ChainHash,
}

impl Tail {
    fn last(&self) -> Option<Position> {
        Position::new(self.first.get() + self.offsets.len() as u64 - 1)
    }
}

/// Opens the segments for writing: makes the first one where nothing is, mends what may be mended. The last segment is
/// then open for writing, and all of it is durable.
pub(super) fn open(folder: &Folder, id: StoreId, proven: Option<Position>) -> Result<Survey, OpenError> {
    let names = folder.list()?;
    // What an interrupted roll, rewrite or offsets file left behind: it never had its name, so nothing relies on it.
    for name in names.iter().filter(|name| name.ends_with(UNFINISHED)) {
        folder.remove(name)?;
    }
    if segment::segments(&names).is_empty() {
        if let Some(proven) = proven.max(proof::read(folder)?.of(id)) {
            let what = format!("there is no segment, but position {proven} was synced");
            return Err(segment::missing(folder, Position::FIRST, &what).into());
        }
        segment::create(folder, &Header::new(id, Position::FIRST, ChainHash::of_store(id.store)))?;
    }
    // A crash may have come between giving a segment its name and making the name safe.
    folder.sync()?;
    let mut survey = survey(folder, Some(id), proven, true)?;
    if survey.last.torn || survey.last.synced < survey.tip.position {
        rewrite(folder, &mut survey)?;
    } else {
        confirm(folder, &mut survey.last)?;
    }
    Ok(survey)
}

/// Reads what is there, for a reader (`id`: any store) or a writer.
///
/// `mend`: offsets that are missing may be written.
pub(super) fn survey(
    folder: &Folder,
    id: Option<StoreId>,
    proven: Option<Position>,
    mend: bool,
) -> Result<Survey, OpenError> {
    // First: what it says is in the segments that are read then, whatever a running writer does meanwhile.
    let said = proof::read(folder)?;
    let mut sealed = segment::segments(&folder.list()?);
    let Some(last) = sealed.pop() else { return Err(OpenError::Absent { dir: folder.path().display().to_string() }) };
    if sealed.first().unwrap_or(&last) != &Position::FIRST {
        return Err(segment::missing(folder, Position::FIRST, "the first segment is missing").into());
    }
    let file = Arc::new(folder.open(&segment::log_name(last))?);
    if let Some(summary) = offsets::summary(folder, last, &file)?
        && let Some(next) = Position::new(last.get() + summary.count)
    {
        if segment::segments(&folder.list()?).last() > Some(&last) {
            return survey(folder, id, proven, mend); // A running writer has gone on to it meanwhile.
        }
        return Err(segment::missing(folder, next, "a segment followed the last one, and is missing").into());
    }
    let header = Header::read(&file, last)?;
    let id = id.unwrap_or(header.id);
    header.check(&file, id)?;
    check_sealed(folder, &sealed, &header, mend)?;
    let tail = tail(file, &header, proven.max(said.of(id)))?;
    let tip = match tail.last() {
        None => Tip::empty(id),
        Some(position) if position < tail.first => last_of_sealed(folder, &sealed, position)?,
        Some(position) => {
            let offset = *tail.offsets.last().expect("a position that is not before the first has an offset");
            Tip::of(&reader::read_commit(&tail.file, offset, tail.end, position)?)
        }
    };
    Ok(Survey { id, sealed, last: tail, tip })
}

/// Checks that the sealed segments follow each other without a gap, up to the last segment.
fn check_sealed(folder: &Folder, sealed: &[Position], last: &Header, mend: bool) -> Result<(), OpenError> {
    let Some(&first) = sealed.first() else { return check_start(folder, last) };
    let mut file = Arc::new(folder.open(&segment::log_name(first))?);
    let mut header = Header::read(&file, first)?;
    check_start(folder, &header)?;
    for next_first in sealed[1..].iter().copied().chain([last.first]) {
        header.check(&file, last.id)?;
        let next_file = Arc::new(folder.open(&segment::log_name(next_first))?);
        let next = Header::read(&next_file, next_first)?;
        check_follows(folder, &file, &header, &next, mend)?;
        (file, header) = (next_file, next);
    }
    Ok(())
}

fn check_start(folder: &Folder, header: &Header) -> Result<(), OpenError> {
    if header.previous == ChainHash::of_store(header.id.store) {
        return Ok(());
    }
    Err(segment::missing(folder, header.first, "the first segment's chain does not begin with the store's id").into())
}

fn check_follows(
    folder: &Folder,
    file: &Arc<NamedFile>,
    header: &Header,
    next: &Header,
    mend: bool,
) -> Result<(), OpenError> {
    let follows = |count: u64, hash| header.first.get() + count == next.first.get() && hash == next.previous;
    if let Some(summary) = offsets::summary(folder, header.first, file)?
        && follows(summary.count, summary.hash)
    {
        return Ok(());
    }
    // The offsets are missing or wrong, or the segments are: only reading tells.
    let found = scan::sealed(file.clone(), header.first, header.previous)?;
    let count = found.offsets.len() as u64;
    if !follows(count, found.hash) {
        let position = header.first.get() + count;
        let what = format!("the next segment begins with position {} and does not follow", next.first);
        return Err(file.damage(file.len()?, position, what).into());
    }
    if mend {
        offsets::write(folder, header.first, file.len()?, &found)?;
    }
    Ok(())
}

/// The end of a store whose last segment has no commit yet.
fn last_of_sealed(folder: &Folder, sealed: &[Position], position: Position) -> Result<Tip, OpenError> {
    let first = *sealed.last().expect("the last segment begins behind position 1, so there is one before it");
    let segment = reader::SealedSegment::open(folder, first)?;
    Ok(Tip::of(&segment.get(position)?))
}

/// Reads the last segment up to its last valid frame, and judges what is behind it.
fn tail(file: Arc<NamedFile>, header: &Header, proven: Option<Position>) -> Result<Tail, Fault> {
    let len = file.len()?;
    let mut scan = Scan::new(file.clone(), HEADER_BYTES as u64, len);
    let mut chain = Chain { position: header.first, hash: header.previous };
    let (mut offsets, mut commits_end) = (Vec::new(), scan.offset());
    // That the segment exists proves all before it; a frame proves what it states.
    let mut synced = Position::new(header.first.get() - 1);
    // Where the group begins that is not complete yet: the offset, and what had been read by then.
    let mut open: Option<(u64, Chain, usize, u64)> = None;
    let mut is_frame = true;
    let (mut end, mut torn) = loop {
        let offset = scan.offset();
        let Some(frame) = scan.next()? else { break (offset, None) };
        let before = (offset, chain, offsets.len(), commits_end);
        let read = frame.map_err(|error| error.to_string());
        is_frame = read.is_ok();
        match read.and_then(|frame| Ok((chain.follow(&frame)?, frame.synced, frame.goes_on))) {
            Ok((is_commit, stated, goes_on)) => {
                synced = synced.max(stated);
                if is_commit {
                    open = if goes_on { open.or(Some(before)) } else { None };
                    offsets.push(offset);
                    commits_end = scan.offset();
                }
            }
            // Zeros up to the end were written beforehand.
            Err(what) => break (offset, if scan.only_zeros_ahead()? { None } else { Some(what) }),
        }
    };
    // Where it ends for a reason; a group that is cut begins before that.
    let (ends_at, expected) = (end, chain.position.get());
    if let Some((offset, chain_before, count, commits_end_before)) = open {
        // All of it was written at once and none of it was synced, or the last one would be here too.
        torn = Some(torn.unwrap_or_else(|| "the commits of an atomic batch are not all there".into()));
        (end, chain, commits_end) = (offset, chain_before, commits_end_before);
        offsets.truncate(count);
    }
    let last = Position::new(chain.position.get() - 1);
    if torn.is_some() {
        synced = synced.max(stated_behind(&file, end, len)?);
    }
    if let Some(synced) = synced.max(proven)
        && last < Some(synced)
    {
        // A running writer, beside a reader, may have come to these bytes meanwhile:
        // 1. they are zeros, written beforehand, when they are read;
        // 2. the writer puts commit p there, and behind it p + 1, which states that p is synced;
        // 3. that statement is found, and p was not.
        // Whatever is synced is there by now, so if this place can be read now, nothing is damaged.
        if !is_frame && matches!(Scan::new(file.clone(), ends_at, file.len()?).next()?, Some(Ok(_))) {
            return tail(file, header, proven);
        }
        let what = torn.unwrap_or_else(|| "the journal ends".into());
        return Err(file.damage(ends_at, expected, format!("{what}, but position {synced} was synced")).into());
    }
    Ok(Tail { file, first: header.first, offsets, commits_end, end, torn: torn.is_some(), synced, hash: chain.hash })
}

/// The highest position that any valid frame at or behind an offset calls durable.
fn stated_behind(file: &Arc<NamedFile>, offset: u64, len: u64) -> Result<Option<Position>, Failed> {
    let mut scan = Scan::new(file.clone(), offset, len);
    let mut stated = None;
    loop {
        match scan.next()? {
            None => return Ok(stated),
            Some(Ok(frame)) => stated = stated.max(frame.synced),
            Some(Err(_)) => {
                scan.skip_to_marker()?;
            }
        }
    }
}

/// Writes the last segment's valid frames to a new file, which takes its place.
///
/// What is not proven came from the page cache, perhaps after a failed fsync, and may not be on disk at all; the kernel
/// may even believe that it is, so syncing it again proves nothing. What is torn goes at the same time, whole. The new
/// file states that all of it is durable, which is true when it gets its name.
fn rewrite(folder: &Folder, survey: &mut Survey) -> Result<(), OpenError> {
    const PIECE_BYTES: usize = 1024 * 1024;
    let tail = &mut survey.last;
    let name = segment::log_name(tail.first);
    let file = folder.create(&format!("{name}{UNFINISHED}"))?;
    let mut offset = 0;
    while offset < tail.end {
        let piece = tail
            .file
            .read(offset, usize::try_from(tail.end - offset).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES)))?;
        if piece.is_empty() {
            return Err(tail.file.damage(offset, tail.first.get(), "the segment shrinks while it is read").into());
        }
        file.write_at(&piece, offset)?;
        offset += piece.len() as u64;
    }
    if survey.tip.position.is_some() {
        let mut statement = Vec::with_capacity(frame::HEAD_BYTES);
        frame::encode_statement(&mut statement, survey.tip.position, &tail.hash);
        file.write_at(&statement, offset)?;
        tail.end += statement.len() as u64;
    }
    tail.file = Arc::new(segment::finish(folder, file, &name)?);
    tail.torn = false;
    tail.synced = survey.tip.position;
    Ok(())
}

/// Writes the statement at the end once more, in its place.
///
/// It proves that the commits before it are on disk, but nothing proves that it is there itself:
/// 1. The fsync of an idle journal's statement fails, and the process ends.
/// 2. The next one reads the statement from the page cache, and believes it, rightly.
/// 3. It appends behind it. The kernel takes the statement's page for clean and does not write it.
/// 4. After a power cut there is a hole in front of durable commits.
fn confirm(folder: &Folder, tail: &mut Tail) -> Result<(), Failed> {
    let file = folder.open_to_write(&segment::log_name(tail.first))?;
    if tail.commits_end < tail.end {
        let length = usize::try_from(tail.end - tail.commits_end).expect("a statement or a few");
        let statements = tail.file.read(tail.commits_end, length)?;
        file.write_at(&statements, tail.commits_end)?;
        file.sync_data()?;
    }
    tail.file = Arc::new(file);
    Ok(())
}

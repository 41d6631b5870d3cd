//! A store as lines of JSON, to be kept, carried elsewhere and read back.
//!
//! ```text
//! {"hapax_export":1,"store":"0198…","partitions":1}                    which store; "masked":true if it has pseudonyms
//! {"partition":0,"position":1,"hash":"…","commit":{…}}                 each commit: the record as it lies in the store
//! {"partition":0,"aggregate":"account","key":"42","version":3,"fold":1,"state":{…}}   each state, as the code then folded it
//! {"partition":0,"end":{"position":3,"hash":"…"}}                      the end: a file that was cut off has none
//! ```
//! One partition after the other. Chain and positions are those of the store, and are checked when it is read. The states
//! are for [`redecide`](super::redecide): another version of the code must fold the same ones.

use std::io::{self, BufRead, Write};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::mask::{MaskError, Masker, Unmatched};
use super::states::States;
use super::timeline;
use crate::aggregate::Service;
use crate::model::groups::{GroupError, GroupPlace};
use crate::model::limits::COMMIT_BYTES_MAX;
use crate::model::subject::{AggregateType, Key};
use crate::model::{AggregateId, ChainHash, Commit, CommitError, Position, Snapshot, Version};
use crate::store::{CommitReader, ReadError, Recorded, StoreId, Tip};

/// The form that is written, and the only one that is read.
pub const EXPORT_FORMAT: u32 = 1;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    #[serde(rename = "hapax_export")]
    format: u32,
    /// The store. A masked one has an id of its own, and its own chain.
    pub store: Uuid,
    /// Into how many partitions its keys are divided.
    pub partitions: u32,
    /// Whether names in it are pseudonyms.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub masked: bool,
}

/// What can be read of the first line of any format.
#[derive(Deserialize)]
struct FormatForm {
    #[serde(rename = "hapax_export")]
    format: u32,
}

impl Header {
    /// Of a store.
    pub fn new(store: Uuid, partitions: u32, masked: bool) -> Header {
        Header { format: EXPORT_FORMAT, store, partitions, masked }
    }

    /// Which store a partition is.
    pub fn store_id(&self, partition: u32) -> StoreId {
        StoreId { store: self.store, partition, partitions: self.partitions }
    }

    /// Writes it.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        write_line(out, self)
    }

    /// Writes a partition that has no commit. `unmatched`: of the mask, if there is one.
    ///
    /// # Errors
    /// [`ExportError`].
    pub fn write_empty(
        &self,
        out: &mut impl Write,
        partition: u32,
        unmatched: Option<&Unmatched>,
    ) -> Result<(), ExportError> {
        let id = self.store_id(partition);
        unmatched.map_or(Ok(()), |unmatched| may_end(id, unmatched))?;
        let Tip { position, hash, .. } = Tip::empty(id);
        Ok(write_line(out, &EndLine { partition, end: End { position, hash } })?)
    }
}

fn write_line(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

#[derive(Serialize)]
struct StateLine<'a> {
    partition: u32,
    aggregate: &'a AggregateType,
    key: &'a Key,
    version: Version,
    fold: u32,
    state: &'a RawValue,
}

#[derive(Serialize)]
struct EndLine {
    partition: u32,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End {
    position: Option<Position>,
    hash: ChainHash,
}

#[derive(Serialize, Deserialize)]
struct EndForm {
    position: Option<Position>,
    hash: String,
}

impl Serialize for End {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        EndForm { position: self.position, hash: self.hash.to_string() }.serialize(serializer)
    }
}

/// A store was not exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A commit in it cannot be masked.
    #[error("the commit at position {position} cannot be masked")]
    Mask {
        /// The commit.
        position: Position,
        /// Why.
        #[source]
        source: MaskError,
    },
    /// A name in the mask is that of nothing in the store. What it was to hide would lie open.
    #[error(
        "nothing in this store has the names that the mask has under {0}: what they were to hide is not hidden, so the export \
         has no end; spell them as the store does, or take them out"
    )]
    Unmatched(Unmatched),
    /// The lines cannot be written.
    #[error("cannot write the export")]
    Write(#[from] io::Error),
}

/// Writes a partition: its commits, the states behind them, its end. `seen` is told of every commit. Returns of what no
/// state could be told, and why ([`States::untold`]).
///
/// # Errors
/// [`ExportError`].
pub fn write_partition(
    out: &mut impl Write,
    id: StoreId,
    reader: &impl CommitReader,
    service: &Arc<Service>,
    mut seen: impl FnMut(),
) -> Result<Vec<String>, ExportError> {
    let mut writer = PartitionWriter::new(out, id);
    let mut states = States::new(service.clone());
    reader.changes(|Recorded { json, hash, change }| {
        writer.line(change.position, hash, json)?;
        // What cannot be folded has no state, which is said in the end, and the rest has one.
        let _no_state = states.follow(change);
        seen();
        Ok::<_, ExportError>(())
    })?;
    writer.finish(&states)
}

/// The same with pseudonyms. `id` is that of the masked store.
///
/// # Errors
/// [`ExportError`].
pub fn write_masked(
    out: &mut impl Write,
    id: StoreId,
    reader: &impl CommitReader,
    mut masker: Masker<'_>,
    mut seen: impl FnMut(),
) -> Result<Vec<String>, ExportError> {
    let mut writer = PartitionWriter::new(out, id);
    for commit in reader.read(Position::FIRST) {
        let commit = commit?;
        let mask_error = |source| ExportError::Mask { position: commit.position, source };
        for commit in masker.mask(&commit).map_err(mask_error)? {
            writer.line(commit.position, commit.hash, commit.json())?;
        }
        seen();
    }
    may_end(id, masker.unmatched())?;
    writer.finish(masker.states())
}

/// Nobody reads an export without an end, so a misspelt mask makes none.
fn may_end(id: StoreId, unmatched: &Unmatched) -> Result<(), ExportError> {
    let is_last = id.partition + 1 == id.partitions;
    if is_last && !unmatched.is_empty() { Err(ExportError::Unmatched(unmatched.clone())) } else { Ok(()) }
}

struct PartitionWriter<'a, W> {
    out: &'a mut W,
    partition: u32,
    end: End,
}

impl<W: Write> PartitionWriter<'_, W> {
    fn new(out: &mut W, id: StoreId) -> PartitionWriter<'_, W> {
        let Tip { position, hash, .. } = Tip::empty(id);
        PartitionWriter { out, partition: id.partition, end: End { position, hash } }
    }

    /// A commit.
    fn line(&mut self, position: Position, hash: ChainHash, record: &[u8]) -> Result<(), ExportError> {
        self.out.write_all(timeline::json(self.partition, position, &hash, record).as_bytes())?;
        self.out.write_all(b"\n")?;
        self.end = End { position: Some(position), hash };
        Ok(())
    }

    fn finish(self, states: &States) -> Result<Vec<String>, ExportError> {
        let PartitionWriter { out, partition, end } = self;
        for (AggregateId { kind, key }, Snapshot { version, fold, state }) in states.snapshots() {
            let state = serde_json::from_slice(&state).expect("a state is written as JSON");
            write_line(out, &StateLine { partition, aggregate: &kind, key: &key, version, fold, state })?;
        }
        write_line(out, &EndLine { partition, end })?;
        Ok(states.untold())
    }
}

/// What to do about a file that is not as it was written.
const AGAIN: &str = "the file was changed since it was written: export again, or take an unchanged copy";

impl From<io::Error> for ImportError {
    fn from(error: io::Error) -> ImportError {
        // So says a reader of lines.
        if error.kind() == io::ErrorKind::InvalidData { ImportError::NotText } else { ImportError::Read(error) }
    }
}

/// An export cannot be read, or is not what was written.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The operating system said no.
    #[error("the export cannot be read; see that its disk is well, or take another copy")]
    Read(#[source] io::Error),
    /// It has bytes that are no UTF-8.
    #[error("this is no text (UTF-8): it is compressed, or damaged; unpack it, or take another copy")]
    NotText,
    /// The first line is not that of an export.
    #[error("line 1 is not the first line of an export of hapax; `export` makes one")]
    Header(#[source] serde_json::Error),
    /// Another version of hapax wrote it.
    #[error(
        "the export has format {0}; this version reads format {EXPORT_FORMAT}: use the version that wrote it, or export again"
    )]
    Format(u32),
    /// A line is none of an export.
    #[error("line {line} is not a line of an export; {AGAIN}")]
    Line {
        /// Its number, from 1.
        line: u64,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The record in a line is no commit.
    #[error("line {line} has no commit that can be read; {AGAIN}")]
    Commit {
        /// Its number, from 1.
        line: u64,
        /// Why.
        #[source]
        source: CommitError,
    },
    /// The record in a line is longer than any that a processor makes.
    #[error("line {line} has a commit of {bytes} bytes, and none has more than {COMMIT_BYTES_MAX}; {AGAIN}")]
    TooLong {
        /// Its number, from 1.
        line: u64,
        /// Its length.
        bytes: usize,
    },
    /// A line is not what has to follow there: the file was changed.
    #[error("line {line}: {what}; {AGAIN}")]
    Broken {
        /// Its number, from 1.
        line: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// An atomic batch in it is torn, or does not end.
    #[error("line {line} does not go on with its atomic batch; {AGAIN}")]
    Group {
        /// Its number, from 1.
        line: u64,
        /// Why.
        #[source]
        source: GroupError,
    },
    /// The file ends before the store does.
    #[error(
        "the file ends with line {line}, before the end of partition {partition}: it was cut off; export again, or copy it again"
    )]
    CutOff {
        /// The last line.
        line: u64,
        /// The partition that has no end.
        partition: u32,
    },
}

/// What a line says.
#[derive(Debug)]
pub enum Item {
    /// A commit, which continues the chain of its partition.
    Commit(Box<Commit>),
    /// A state behind the last commit, as the code folded it that wrote the export.
    State(AggregateId, Snapshot),
    /// Nothing more comes of the partition.
    End,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LineForm<'a> {
    partition: u32,
    position: Option<Position>,
    hash: Option<String>,
    #[serde(borrow)]
    commit: Option<&'a RawValue>,
    aggregate: Option<AggregateType>,
    key: Option<Key>,
    version: Option<Version>,
    fold: Option<u32>,
    #[serde(borrow)]
    state: Option<&'a RawValue>,
    end: Option<EndForm>,
}

/// Reads an export, line by line, and checks positions and chain.
#[derive(Debug)]
pub struct Export<R> {
    lines: R,
    header: Header,
    line: u64,
    partition: u32,
    tip: Tip,
    /// Which atomic batch has not ended.
    group: GroupPlace,
    text: String,
}

impl<R: BufRead> Export<R> {
    /// Reads the first line.
    ///
    /// # Errors
    /// [`ImportError`].
    pub fn open(mut lines: R) -> Result<Export<R>, ImportError> {
        let mut text = String::new();
        lines.read_line(&mut text)?;
        // By itself, before anything else is expected of a later format.
        let FormatForm { format } = serde_json::from_str(&text).map_err(ImportError::Header)?;
        if format != EXPORT_FORMAT {
            return Err(ImportError::Format(format));
        }
        let header: Header = serde_json::from_str(&text).map_err(ImportError::Header)?;
        if header.partitions == 0 {
            return Err(ImportError::Broken { line: 1, what: "a store has at least one partition" });
        }
        let tip = Tip::empty(header.store_id(0));
        Ok(Export { lines, header, line: 1, partition: 0, tip, group: GroupPlace::default(), text })
    }

    /// The first line.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The partition and what the next line says of it; `None`: the file is complete.
    ///
    /// # Errors
    /// [`ImportError`]; nothing more is to be read then.
    pub fn read_next(&mut self) -> Result<Option<(u32, Item)>, ImportError> {
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        let bytes = self.lines.read_line(&mut text)?;
        let read = match (bytes, self.partition < self.header.partitions) {
            (0, true) => Err(ImportError::CutOff { line: self.line, partition: self.partition }),
            (0, false) => Ok(None),
            _ => {
                self.line += 1;
                self.read(&text).map(Some)
            }
        };
        self.text = text;
        read
    }

    fn read(&mut self, text: &str) -> Result<(u32, Item), ImportError> {
        let line = self.line;
        let broken = |what| ImportError::Broken { line, what };
        let form: LineForm<'_> = serde_json::from_str(text).map_err(|source| ImportError::Line { line, source })?;
        let partition = form.partition;
        if partition != self.partition || partition >= self.header.partitions {
            return Err(broken("it belongs to another partition than the lines before"));
        }
        let item = match form {
            LineForm { commit: Some(commit), position: Some(position), hash: Some(hash), .. } => {
                Item::Commit(Box::new(self.commit(commit, position, &hash)?))
            }
            LineForm { state: Some(state), aggregate: Some(kind), key: Some(key), version, fold, .. } => {
                let (Some(version), Some(fold)) = (version, fold) else {
                    return Err(broken("a state has a version and a fold"));
                };
                let state = Bytes::copy_from_slice(state.get().as_bytes());
                Item::State(AggregateId { kind, key }, Snapshot { version, fold, state })
            }
            LineForm { end: Some(EndForm { position, hash }), .. } => {
                self.group.end().map_err(|source| ImportError::Group { line, source })?;
                if position != self.tip.position || hash != self.tip.hash.to_string() {
                    return Err(broken("the partition ends with another commit than the export says"));
                }
                self.partition += 1;
                if self.partition == self.header.partitions && !self.lines.fill_buf()?.is_empty() {
                    return Err(ImportError::Broken { line: line + 1, what: "something follows the end of the store" });
                }
                self.tip = Tip::empty(self.header.store_id(self.partition));
                Item::End
            }
            _ => return Err(broken("it is neither a commit, nor a state, nor an end")),
        };
        Ok((partition, item))
    }

    fn commit(&mut self, json: &RawValue, position: Position, hash: &str) -> Result<Commit, ImportError> {
        let line = self.line;
        let broken = |what| Err(ImportError::Broken { line, what });
        let bytes = json.get().len();
        if COMMIT_BYTES_MAX < bytes {
            return Err(ImportError::TooLong { line, bytes });
        }
        let json = Bytes::copy_from_slice(json.get().as_bytes());
        let chained = self.tip.hash.link(&json);
        if chained.to_string() != hash {
            return broken("the chain hash does not follow from the commit before");
        }
        let commit = Commit::from_json(json, chained).map_err(|source| ImportError::Commit { line, source })?;
        if position != commit.position || position != Position::after(self.tip.position) {
            return broken("the position does not follow the one before");
        }
        self.group.go_on(&commit).map_err(|source| ImportError::Group { line, source })?;
        self.tip = Tip::of(&commit);
        Ok(commit)
    }
}

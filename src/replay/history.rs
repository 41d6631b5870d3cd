//! An exported store as a text that a test compares: what was asked, what came of it, how that changed the state; and
//! where today's code decides otherwise, both. So a change of a rule is a difference in a snapshot, which somebody reads
//! and approves before it is a surprise in production.
//!
//! ```no_run
//! // In a test of your package, which has `insta` among its dev-dependencies.
//! hapax::assert_histories!(hapax::samples::service(), "tests/histories");
//! ```
//! A history is made by `hapax export`, with `--mask` if it comes from production.

use std::fmt::{self, Write as _};
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::export::{Export, ImportError, Item};
use super::redecide::{Redecided, Redecider};
use super::states::States;
use super::timeline::{asked, came_of};
use crate::aggregate::{Folded, Service};
use crate::model::difference::difference;
use crate::model::error::{caught, with_sources};
use crate::model::groups::GroupError;
use crate::model::{AggregateId, Commit, CommitError, Decision, Position, RecordedEvent, Snapshot, Version};

/// Compares every exported file of a folder with its snapshot; `cargo insta review` approves what has changed.
///
/// The first argument is the [`Service`](crate::Service), the second the folder, from where the test runs: the package's own.
#[macro_export]
macro_rules! assert_histories {
    ($service:expr, $folder:expr) => {
        match $crate::replay::history::histories($service, $folder) {
            Ok(histories) => {
                for history in histories {
                    ::insta::assert_snapshot!(format!("history__{}", history.name), history.text);
                }
            }
            Err(error) => panic!("{error}"),
        }
    };
}

/// An exported store, as a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// The name of its file, without `.jsonl`.
    pub name: String,
    /// What happened.
    pub text: String,
}

/// Histories cannot be told. The text names the file.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The folder has none: a test of nothing would pass for ever.
    #[error("{} has no *.jsonl; `hapax export` makes one", .0.display())]
    None(PathBuf),
    /// The operating system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not an export, or was changed.
    #[error("{}: {}", path.display(), with_sources(source))]
    Export {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ImportError,
    },
    /// An atomic batch in it is torn.
    #[error("{}: {source}", path.display())]
    Group {
        /// The file.
        path: PathBuf,
        /// Where.
        source: GroupError,
    },
    /// An outcome in it cannot be read.
    #[error("{}: {}", path.display(), with_sources(source))]
    Commit {
        /// The file.
        path: PathBuf,
        /// Why.
        source: CommitError,
    },
}

/// Every `*.jsonl` of a folder, in the order of their names.
///
/// # Errors
/// [`HistoryError`].
pub fn histories(service: Service, folder: impl AsRef<Path>) -> Result<Vec<History>, HistoryError> {
    let (folder, service) = (folder.as_ref(), Arc::new(service));
    let io_error = |source| HistoryError::Io { path: folder.to_owned(), source };
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(io_error)? {
        let path = entry.map_err(io_error)?.path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        return Err(HistoryError::None(folder.to_owned()));
    }
    paths.sort();
    paths.iter().map(|path| history(&service, path)).collect()
}

/// One exported store.
///
/// # Errors
/// [`HistoryError`].
pub fn history(service: &Arc<Service>, path: &Path) -> Result<History, HistoryError> {
    let file = File::open(path).map_err(|source| HistoryError::Io { path: path.to_owned(), source })?;
    let export_error = |source| HistoryError::Export { path: path.to_owned(), source };
    let mut export = Export::open(BufReader::new(file)).map_err(export_error)?;
    let mut text = Text { text: String::new(), states: States::new(service.clone()) };
    let header = export.header().clone();
    for partition in 0..header.partitions {
        if header.partitions > 1 {
            text.heading(partition);
        }
        let mut redecider = Redecider::new(service.clone(), header.store_id(partition));
        while let Some((_, item)) = export.read_next().map_err(export_error)? {
            match item {
                Item::Commit(commit) => {
                    let redecided = redecider.decide(*commit);
                    let torn = |source| HistoryError::Group { path: path.to_owned(), source };
                    for redecided in redecided.map_err(torn)? {
                        let told = text.commit(&redecided);
                        told.map_err(|source| HistoryError::Commit { path: path.to_owned(), source })?;
                    }
                }
                Item::State(aggregate, recorded) => text.state(&aggregate, &recorded),
                Item::End => break,
            }
        }
    }
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    Ok(History { name, text: text.text })
}

struct Text {
    text: String,
    states: States,
}

impl Text {
    fn line(&mut self, line: fmt::Arguments<'_>) {
        self.text.write_fmt(line).expect("a String takes everything");
        self.text.push('\n');
    }

    fn heading(&mut self, partition: u32) {
        self.line(format_args!("partition {partition}\n"));
    }

    fn commit(&mut self, redecided: &Redecided) -> Result<(), CommitError> {
        let Redecided { recorded, now, .. } = redecided;
        let command = &recorded.command;
        let (position, principal, aggregate) = (recorded.position, &command.identity.principal, &command.aggregate);
        self.line(format_args!("{} {principal} {aggregate} {}", place(position), asked(command)));
        let outcome = recorded.outcome()?;
        match &outcome.decision {
            Decision::Accepted(events) if !events.is_empty() => self.events(recorded, events),
            decision => self.line(format_args!("     {}", came_of(command, decision))),
        }
        if let Some(now) = now {
            self.line(format_args!("     recorded  {}", came_of(command, &outcome.decision)));
            self.line(format_args!("     now       {}", now.text()));
        }
        self.text.push('\n');
        Ok(())
    }

    /// Each event, and the members of the state that it changes.
    fn events(&mut self, commit: &Commit, events: &[RecordedEvent]) {
        let mut folded = self.states.get(&commit.command.aggregate);
        let mut version = commit.version_before();
        for event in events {
            version = Version(version.0 + 1);
            self.line(format_args!("   + v{version} {event}"));
            for line in change(&mut folded, event) {
                self.line(format_args!("     {line}"));
            }
        }
        if let Err(why) = self.states.apply(commit) {
            self.line(format_args!("     cannot be folded: {why}"));
        }
    }

    /// Only where the code that exported it folded another one.
    fn state(&mut self, aggregate: &AggregateId, recorded: &Snapshot) {
        if self.states.agrees(aggregate, recorded) == Some(false) {
            let now = self.states.get(aggregate).ok().and_then(|folded| folded.state.to_json().ok());
            self.line(format_args!("{aggregate} v{}: its events are folded into another state", recorded.version));
            for line in difference(&recorded.state, &now.unwrap_or_default()) {
                self.line(format_args!("     {line}"));
            }
            self.text.push('\n');
        }
    }
}

fn place(position: Position) -> String {
    format!("{:<4}", position.get())
}

/// What an event changes. Nothing is said where there is no state: that has been said where it was lost.
fn change(folded: &mut Result<Folded, String>, event: &RecordedEvent) -> Vec<String> {
    let Ok(state) = folded else { return Vec::new() };
    let before = state.state.to_json().unwrap_or_default();
    match caught(|| state.state.evolve(event.borrowed())) {
        Ok(Ok(())) => difference(&before, &state.state.to_json().unwrap_or_default()),
        _ => {
            *folded = Err(String::new()); // The fold of the whole commit says why.
            Vec::new()
        }
    }
}

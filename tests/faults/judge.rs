//! What a run has to answer for: what its clients were told, and the store that is left, before the one checker.

use std::path::Path;

use hapax::index::{Index, SledIndex};
use hapax::model::{Commit, Position};
use hapax::samples::service;
use hapax::serve::DataDir;
use hapax::store::CommitReader;
use hapax::store::file::FileReader;

use crate::common::checker::{Evidence, Feed, check};
use crate::common::feed::Fed;
use crate::common::history::History;
use crate::common::row::Verdict;
use crate::program;

/// Judges the history of a store whose processor has stopped. `feed`: what that has left in it, if it was looked at.
pub(crate) fn judge(history: &History, data: &Path, feed: Option<&[Fed]>) -> Verdict {
    let dir = DataDir::open(data).unwrap();
    let id = dir.store_id(0);
    let read = || FileReader::open_read_only(&dir.journal_dir(0)).map(|reader| reader.read(Position::FIRST).collect());
    // Of a store that nobody can read, nothing is there.
    let unreadable = |complaint| Verdict { lost: history.not_in(&[]), ..Verdict::of(complaint) };
    let commits: Vec<Commit> = match read().map(|commits: Vec<_>| commits.into_iter().collect()) {
        Ok(Ok(commits)) => commits,
        Ok(Err(error)) => return unreadable(format!("the store cannot be read: {error}")),
        Err(error) => return unreadable(format!("the store cannot be opened: {error}")),
    };
    let mut complaints = Vec::new();
    let index = SledIndex::open_as_it_is(&dir.partition_dir(0), id);
    let index = index.unwrap_or_else(|error| {
        complaints.push(format!("the index is doubted: {error}"));
        None
    });
    let service = service();
    let believed = index.as_ref().map(|(index, from)| (index as &dyn Index, Some(from.position)));
    let feed = feed.map(|messages| Feed { messages, is_whole: true });
    let evidence = Evidence { id, service: &service, commits: &commits, index: believed, feed, all_settled: true };
    if let Err(violations) = check(history, &evidence) {
        complaints.extend(violations.iter().map(ToString::to_string));
    }
    drop(index); // Verifying needs it.
    let verified = program::verify(data);
    if !verified.status.success() {
        complaints.push(format!("verify: {verified:?}"));
    }
    Verdict { complaints, lost: history.not_in(&commits) }
}

/// The clients have given up: what has no outcome by now never gets one.
pub(crate) fn given_up(history: &History, complaint: String) -> Verdict {
    Verdict { lost: history.unanswered(), ..Verdict::of(complaint) }
}

//! How far is it? Bars on stderr, which show on a terminal only.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use indicatif::{ProgressBar, ProgressStyle};

use crate::index::Progress;
use crate::model::{Commit, Position};
use crate::store::{CommitReader, ReadError};

/// Counts commits up to a number that is known.
pub(super) fn commits_bar(total: u64, what: String) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len} commits, {eta} left")
        .expect("the template is constant");
    ProgressBar::new(total).with_style(style).with_message(what)
}

/// A bar for each partition whose index is being brought up to date.
#[derive(Default)]
pub(super) struct IndexBars(Mutex<HashMap<u32, ProgressBar>>);

impl IndexBars {
    /// Shows how far a partition is.
    pub(super) fn show(&self, partition: u32, Progress { noted, total }: Progress) {
        let mut bars = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if total == 0 {
            return;
        }
        let bar = bars.entry(partition).or_insert_with(|| commits_bar(total, format!("partition {partition}: index")));
        bar.set_position(noted);
        if noted == total {
            bar.finish_and_clear();
        }
    }
}

/// A reader whose user does not know beforehand how much there is to be read: it counts what is.
#[derive(Clone)]
pub(super) struct Counted<R> {
    reader: R,
    bar: ProgressBar,
}

impl<R: CommitReader> Counted<R> {
    /// `what`: why it is read.
    pub(super) fn new(reader: R, what: String) -> Counted<R> {
        let style = ProgressStyle::with_template("{msg}: {human_pos} commits read").expect("the template is constant");
        Counted { reader, bar: ProgressBar::no_length().with_style(style).with_message(what) }
    }

    /// Nothing more is read.
    pub(super) fn finish(self) {
        self.bar.finish_and_clear();
    }
}

impl<R: CommitReader> CommitReader for Counted<R> {
    fn get(&self, position: Position) -> Result<Commit, ReadError> {
        self.bar.inc(1);
        self.reader.get(position)
    }

    fn read(&self, from: Position) -> impl Iterator<Item = Result<Commit, ReadError>> + Send {
        let bar = self.bar.clone();
        self.reader.read(from).inspect(move |_| bar.inc(1))
    }

    fn last(&self) -> Option<Position> {
        self.reader.last()
    }
}

//! The aggregates whose state is in memory: the most recently used ones, with everything decided so far.
//!
//! The state is speculative: it holds decisions whose commits are not durable yet. That is safe because nothing of it is
//! visible before its position is durable, and because a failed append ends the process: there is no way back to undo.

use lru::LruCache;

use crate::aggregate::Folded;
use crate::model::{AggregateId, Position};

/// A state is measured again when this many bytes of outcomes, and twice what it was, may have gone into it.
const MEASURE_EVERY_BYTES: usize = 4 * 1024;

#[derive(Debug)]
pub(super) struct LiveAggregates {
    live: LruCache<AggregateId, Live>,
    count_max: usize,
    /// Of all states, as JSON.
    bytes: usize,
    bytes_max: usize,
    dropped: u64,
}

#[derive(Debug)]
struct Live {
    folded: Folded,
    /// Of its state as JSON when that was measured last.
    measured: usize,
    /// The same, and what may have come to it since.
    bytes: usize,
}

impl Live {
    fn new(folded: Folded) -> Live {
        let measured = measure(&folded);
        Live { folded, measured, bytes: measured }
    }
}

/// A state that is not JSON counts nothing: it is refused as soon as anybody needs it as such.
fn measure(folded: &Folded) -> usize {
    folded.state.to_json().map_or(0, |json| json.len())
}

impl LiveAggregates {
    /// Room for so many, and for so many bytes of their states as JSON.
    pub(super) fn new(count_max: usize, bytes_max: usize) -> LiveAggregates {
        LiveAggregates { live: LruCache::unbounded(), count_max, bytes: 0, bytes_max, dropped: 0 }
    }

    /// How many states were dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(super) fn contains(&self, aggregate: &AggregateId) -> bool {
        self.live.contains(aggregate)
    }

    /// The state, now the most recently used.
    pub(super) fn get(&mut self, aggregate: &AggregateId) -> Option<&mut Folded> {
        self.live.get_mut(aggregate).map(|live| &mut live.folded)
    }

    /// Takes a loaded state in, unless memory has one: memory is never older.
    pub(super) fn take_in(&mut self, aggregate: AggregateId, loaded: Folded) {
        if !self.live.contains(&aggregate) {
            let live = Live::new(loaded);
            self.bytes += live.bytes;
            self.live.put(aggregate, live);
        }
    }

    /// Notes that an outcome of so many bytes has changed a state. It may have grown by that, or have shrunk.
    pub(super) fn changed(&mut self, aggregate: &AggregateId, outcome_bytes: usize) {
        if let Some(live) = self.live.peek_mut(aggregate) {
            let before = live.bytes;
            live.bytes += outcome_bytes;
            if live.bytes > 2 * live.measured + MEASURE_EVERY_BYTES {
                live.measured = measure(&live.folded);
                live.bytes = live.measured;
            }
            self.bytes = self.bytes - before + live.bytes;
        }
    }

    /// Drops what was used longest ago, down to the bounds. What changed after `forgettable` stays: the index does not
    /// know it yet, or a look-up that is under way may have missed it.
    pub(super) fn trim(&mut self, forgettable: Option<Position>) {
        while self.live.len() > self.count_max || self.bytes > self.bytes_max {
            match self.live.peek_lru() {
                Some((_, oldest)) if oldest.folded.last <= forgettable => {
                    let dropped = self.live.pop_lru().map_or(0, |(_, live)| live.bytes);
                    self.bytes -= dropped;
                    self.dropped += 1;
                }
                _ => break,
            }
        }
    }
}

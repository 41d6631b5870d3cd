//! How far the notes go, and what must add up if none of them is lost.
//!
//! sled drops what it finds damaged at open without a word, and what it thinks to be on disk may be gone after a power
//! cut, even older than the checkpoint:
//! 1. a page is rewritten behind the checkpoint, in a segment that sled takes for safe, but it was never fsynced;
//! 2. the segment of the page's older copy is therefore free, and something else is written over it;
//! 3. the power goes: of the two writes only the second has reached the disk. The page is gone.
//!
//! But damage can only lose notes or bring older ones back. So two sums find all of it: one identity per commit, and the
//! versions of all heads together are the number of all events.

use super::{Entry, IndexError};

/// Where the notes stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// The last position noted, 0 if none. It is also the number of identities.
    pub(super) position: u64,
    /// How many events all commits up to it have.
    pub(super) events: u64,
}

impl Tally {
    /// The tally behind these entries. Entries that it has counted already change nothing.
    ///
    /// # Errors
    /// [`IndexError::Disagrees`]: a position is left out, and its command would be decided a second time.
    pub(super) fn with(mut self, entries: &[Entry]) -> Result<Tally, IndexError> {
        let mut last = None;
        for entry in entries {
            let position = entry.position.get();
            let follows = last.is_none_or(|last| position == last + 1) && position <= self.position + 1;
            if !follows {
                let before = last.unwrap_or(self.position);
                return Err(IndexError::Disagrees(format!("position {position} is noted behind {before}")));
            }
            if position > self.position {
                self = Tally { position, events: self.events + entry.event_count };
            }
            last = Some(position);
        }
        Ok(self)
    }
}

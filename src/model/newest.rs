//! Which ids can a set of ids not hold, by their time alone?

use super::command::CommandId;

/// The latest millisecond of the ids of UUID version 7 in a set, so that a later one is known not to be in it without a
/// look. A client's new ids are nearly always later than all that has left a processor's memory.
///
/// It is only a bound: a sender whose clock is ahead raises it, and then ids are looked up that need not have been.
///
/// ```
/// use hapax::CommandId;
/// use hapax::model::Newest;
/// let id = |text| CommandId::parse(text).unwrap();
/// let mut newest = Newest::default();
/// newest.add(&id("019ac000-0000-7000-8000-000000000001"));
/// assert!(newest.excludes(&id("019ac000-0001-7000-8000-000000000001")));
/// assert!(!newest.excludes(&id("019ac000-0000-7000-8000-000000000002")));
/// assert!(!newest.excludes(&id("order-2026-11-24-0001"))); // Says nothing about its time.
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Newest(Option<u64>);

impl Newest {
    /// Of a set whose latest id of version 7 says that it was made in this millisecond since 1970.
    pub fn at(millisecond: u64) -> Newest {
        Newest(Some(millisecond))
    }

    /// Adds an id to the set.
    pub fn add(&mut self, id: &CommandId) {
        self.0 = self.0.max(id.millisecond());
    }

    /// Whether the set cannot hold this id.
    pub fn excludes(self, id: &CommandId) -> bool {
        self.0 < id.millisecond()
    }
}

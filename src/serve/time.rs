//! The one place where a running processor reads the clock.

use std::time::SystemTime;

use crate::model::Timestamp;

/// The time of this machine's clock. A clock before 1970 or behind 9999 reads as 1970, which the comparison with the
/// broker's clock then finds.
pub(super) fn now() -> Timestamp {
    Timestamp::from_date(SystemTime::now().into()).unwrap_or(Timestamp::EPOCH)
}

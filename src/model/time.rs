//! A moment as the contract writes it: RFC 3339, UTC, six digits. Reading the clock is the edges' business.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use super::json::Text;

const FORMAT: &[BorrowedFormatItem<'static>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// 0000-01-01T00:00:00.000000Z and 9999-12-31T23:59:59.999999Z, in microseconds since 1970.
const FIRST_MICROS: i64 = -62_167_219_200_000_000;
const LAST_MICROS: i64 = 253_402_300_799_999_999;

/// A moment in UTC, to the microsecond, between the years 0000 and 9999.
///
/// ```
/// use hapax::Timestamp;
/// let time = Timestamp::parse("2026-11-24T21:15:01.5+01:00").unwrap();
/// assert_eq!(time.to_string(), "2026-11-24T20:15:01.500000Z");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01, before every command.
    pub const EPOCH: Timestamp = Timestamp(0);

    /// From microseconds since 1970-01-01 UTC; `None` outside the years 0000 to 9999.
    pub fn from_unix_micros(micros: i64) -> Option<Timestamp> {
        (FIRST_MICROS..=LAST_MICROS).contains(&micros).then_some(Timestamp(micros))
    }

    /// From the `time` crate's type (async-nats uses it too), cut to the microsecond.
    pub fn from_date(date: OffsetDateTime) -> Option<Timestamp> {
        let seconds = date.unix_timestamp().checked_mul(1_000_000)?;
        Timestamp::from_unix_micros(seconds.checked_add(i64::from(date.microsecond()))?)
    }

    /// Microseconds since 1970-01-01 UTC.
    pub fn unix_micros(self) -> i64 {
        self.0
    }

    /// Reads RFC 3339 with any offset and any number of digits; digits behind the sixth are cut off.
    pub fn parse(text: &str) -> Option<Timestamp> {
        OffsetDateTime::parse(text, &Rfc3339).ok().and_then(Timestamp::from_date)
    }

    /// The moment `after` later, or the last one there is.
    #[must_use]
    pub fn plus(self, after: Duration) -> Timestamp {
        let micros = i64::try_from(after.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_unix_micros(self.0.saturating_add(micros)).unwrap_or(Timestamp(LAST_MICROS))
    }

    /// How long after `earlier` this is; zero if it is not.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000)
            .map_err(|_| fmt::Error)?
            .format(FORMAT)
            .map_err(|_| fmt::Error)?;
        f.write_str(&text)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let Text(text) = Text::deserialize(deserializer)?;
        Timestamp::parse(&text).ok_or_else(|| serde::de::Error::custom("not an RFC 3339 time"))
    }
}

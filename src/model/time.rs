//! A moment as the contract writes it: RFC 3339, UTC, six digits. Reading the clock is the edges' business.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::json::Text;

/// The form, with zeros for digits.
const TEXT: &[u8; 27] = b"0000-00-00T00:00:00.000000Z";

/// Why it is a text.
const DIGITS: &str = "digits are ASCII";

const MICROS_PER_SECOND: i64 = 1_000_000;

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

impl Timestamp {
    /// As the contract writes it. By hand: every commit has one, and the `time` crate's formatter costs ten times as much.
    fn text(self) -> [u8; TEXT.len()] {
        let seconds = self.0.div_euclid(MICROS_PER_SECOND);
        let date = OffsetDateTime::from_unix_timestamp(seconds).expect("it lies between the first and the last");
        let micros = self.0.rem_euclid(MICROS_PER_SECOND).unsigned_abs();
        let mut text = *TEXT;
        let mut put = |range: Range<usize>, mut number: u64| {
            for digit in text[range].iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        };
        put(0..4, u64::from(date.year().unsigned_abs()));
        put(5..7, u64::from(u8::from(date.month())));
        put(8..10, u64::from(date.day()));
        put(11..13, u64::from(date.hour()));
        put(14..16, u64::from(date.minute()));
        put(17..19, u64::from(date.second()));
        put(20..26, micros);
        text
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.text()).expect(DIGITS))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(std::str::from_utf8(&self.text()).expect(DIGITS))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let Text(text) = Text::deserialize(deserializer)?;
        Timestamp::parse(&text).ok_or_else(|| serde::de::Error::custom("not an RFC 3339 time"))
    }
}

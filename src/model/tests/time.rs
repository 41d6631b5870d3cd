//! Times as the contract writes them.

use std::time::Duration;

use super::*;

fn shown(text: &str) -> Option<String> {
    Timestamp::parse(text).map(|time| time.to_string())
}

#[test]
fn a_time_has_six_digits_and_is_utc() {
    assert_eq!(Timestamp::EPOCH.to_string(), "1970-01-01T00:00:00.000000Z");
    assert_eq!(shown("2026-11-24T20:15:01Z").unwrap(), "2026-11-24T20:15:01.000000Z");
    assert_eq!(shown("2026-11-24T20:15:01.5Z").unwrap(), "2026-11-24T20:15:01.500000Z");
    assert_eq!(shown("2026-11-24T20:15:01.1234569Z").unwrap(), "2026-11-24T20:15:01.123456Z");
    assert_eq!(shown("2026-11-25T01:45:01+05:30").unwrap(), "2026-11-24T20:15:01.000000Z");
    assert_eq!(shown("1969-12-31T23:59:59.9999999Z").unwrap(), "1969-12-31T23:59:59.999999Z", "cut, not rounded");
}

#[test]
fn years_have_four_digits() {
    assert_eq!(shown("0000-01-01T00:00:00Z").unwrap(), "0000-01-01T00:00:00.000000Z");
    assert_eq!(shown("0033-04-03T15:00:00Z").unwrap(), "0033-04-03T15:00:00.000000Z");
    let last = Timestamp::parse("9999-12-31T23:59:59.999999Z").unwrap();
    assert_eq!(last.to_string(), "9999-12-31T23:59:59.999999Z");
    assert_eq!(Timestamp::from_unix_micros(last.unix_micros() + 1), None);
    assert_eq!(Timestamp::from_unix_micros(i64::MIN), None);
    // An offset must not lead out of the years that can be written.
    assert_eq!(shown("0000-01-01T00:00:00+01:00"), None);
    assert_eq!(shown("9999-12-31T23:59:59-01:00"), None);
}

#[test]
fn what_is_no_time_is_none() {
    for text in ["", "2026-11-24", "2026-11-24T20:15:01", "2026-02-30T00:00:00Z", "20261124T201501Z", "now"] {
        assert_eq!(shown(text), None, "{text:?}");
    }
    assert!(serde_json::from_str::<Timestamp>(r#""now""#).is_err());
}

#[test]
fn times_can_be_moved_and_compared() {
    let time = Timestamp::parse("2026-11-24T20:15:01Z").unwrap();
    let later = time.plus(Duration::from_micros(1_500_000));
    assert_eq!(later.to_string(), "2026-11-24T20:15:02.500000Z");
    assert_eq!(later.since(time), Duration::from_millis(1500));
    assert_eq!(time.since(later), Duration::ZERO);
    assert_eq!(time.plus(Duration::MAX).to_string(), "9999-12-31T23:59:59.999999Z");
    assert!(time < later);
}

//! A point of a history, as people write it: `v3` (a version), `@1207` (a position) or a time. A number alone means what
//! the flag is named after.

use crate::model::{At, Position, Timestamp, Version};

/// What `--help` says about it.
pub(super) const POINTS: &str = "\
Points: v3 is a version, @1207 a position, 2026-11-24T20:15:01Z or 2026-11-24 a time (UTC), or now.
Each may stand wherever one of them does; a number alone means what its flag is named after.";

/// Reads a point; a number alone is a version.
pub(super) fn version(text: &str) -> Result<At, &'static str> {
    number(text).map(|number| At::Version(Version(number))).map_or_else(|| point(text), Ok)
}

/// Reads a point; a number alone is a position.
pub(super) fn position(text: &str) -> Result<At, &'static str> {
    match number(text) {
        Some(number) => Position::new(number).map(At::Position).ok_or("a position is 1 or more"),
        None => point(text),
    }
}

/// Reads a point that has a sign.
pub(super) fn point(text: &str) -> Result<At, &'static str> {
    if text == "now" {
        return Ok(At::Now);
    }
    if let Some(version) = text.strip_prefix('v').and_then(number) {
        return Ok(At::Version(Version(version)));
    }
    if let Some(digits) = text.strip_prefix('@') {
        let position = number(digits).and_then(Position::new);
        return position.map(At::Position).ok_or("a position is 1 or more");
    }
    let time = Timestamp::parse(text).or_else(|| Timestamp::parse(&format!("{text}T00:00:00Z")));
    time.map(At::Time).ok_or("write v3 for a version, @1207 for a position, or a time like 2026-11-24T20:15:01Z")
}

/// Digits only: `u64::from_str` would take "+1" too.
fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_may_stand_wherever_one_does() {
        let time = |text| At::Time(Timestamp::parse(text).unwrap());
        for read in [version, position] {
            assert_eq!(read("v3"), Ok(At::Version(Version(3))));
            assert_eq!(read("@7"), Ok(At::Position(Position::new(7).unwrap())));
            assert_eq!(read("2026-11-24T20:15:01Z"), Ok(time("2026-11-24T20:15:01Z")));
            assert_eq!(read("2026-11-24T21:15:01+01:00"), Ok(time("2026-11-24T20:15:01Z")));
            assert_eq!(read("2026-11-24"), Ok(time("2026-11-24T00:00:00Z")));
            for wrong in ["", "v", "@0", "+1", "v-1", "tomorrow", "@v3"] {
                assert!(read(wrong).is_err(), "{wrong}");
            }
        }
        assert_eq!(version("0"), Ok(At::Version(Version(0))));
        assert_eq!(position("7"), Ok(At::Position(Position::new(7).unwrap())));
        assert!(position("0").is_err());
        let written = ["now", "v3", "@7", "2026-11-24T20:15:01.000000Z"];
        assert_eq!(written.map(|text| point(text).unwrap().to_string()), written);
    }
}

//! When to try again: not earlier than told, later each time, and not all senders at once.

use std::time::Duration;

use crate::model::{Refusal, Retry, RetryWith};

/// The first pause is at most that.
const PAUSE_FIRST_MAX: Duration = Duration::from_millis(250);
/// No pause is longer than that: a processor that is back should not stand idle while its senders sleep.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Pauses that grow exponentially, with full jitter: a crowd that was refused together does not come back together.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    doublings: u32,
}

impl Backoff {
    /// The next pause. `random` is in `0.0..1.0`.
    pub(super) fn next(&mut self, random: f64) -> Duration {
        let longest = PAUSE_FIRST_MAX.saturating_mul(1 << self.doublings).min(PAUSE_MAX);
        if longest < PAUSE_MAX {
            self.doublings += 1;
        }
        longest.mul_f64(random)
    }
}

/// The pause of one that has no reason to hurry. `random` is in `0.0..1.0`.
pub(super) fn at_leisure(random: f64) -> Duration {
    PAUSE_MAX.mul_f64((1.0 + random) / 2.0)
}

/// Whether a refused command is to be sent again as it is, and how long to wait at least. Only the `retry` member
/// counts, never the code: a refusal of a later contract is then understood too. `same_id` without a time means that the
/// sender has to mend something first, so it is not for us.
pub(super) fn again_after(refusal: &Refusal) -> Option<Duration> {
    match refusal.retry {
        Some(Retry { with: RetryWith::SameId, after_ms: Some(after_ms) }) => Some(Duration::from_millis(after_ms)),
        _ => None,
    }
}

/// Whether what was refused may be wanted under another id only: it is about the command then, whatever was asked.
pub(super) fn wants_new_id(refusal: &Refusal) -> bool {
    matches!(refusal.retry, Some(Retry { with: RetryWith::NewId, .. }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u128> = (0..8).map(|_| backoff.next(0.5).as_millis()).collect();
        assert_eq!(pauses, [125, 250, 500, 1000, 2000, 2500, 2500, 2500]);
    }

    #[test]
    fn jitter_is_full() {
        assert_eq!(Backoff::default().next(0.0), Duration::ZERO);
        assert!(Backoff::default().next(0.999) > Duration::from_millis(249));
        assert_eq!(at_leisure(0.0), PAUSE_MAX / 2);
    }

    #[test]
    fn only_the_retry_member_counts() {
        let retry = |with, after_ms| Some(Retry { with, after_ms });
        let refusal = |retry| Refusal { retry, ..Refusal::unavailable("") };
        assert_eq!(again_after(&Refusal::unavailable("")), Some(Duration::from_millis(250)));
        assert_eq!(again_after(&refusal(retry(RetryWith::SameId, None))), None);
        assert_eq!(again_after(&refusal(retry(RetryWith::NewId, Some(5)))), None);
        assert_eq!(again_after(&refusal(None)), None);
        let unheard_of = Refusal { code: 599, ..refusal(retry(RetryWith::SameId, Some(7))) };
        assert_eq!(again_after(&unheard_of), Some(Duration::from_millis(7)));
    }
}

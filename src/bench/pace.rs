//! When may the next message go out, and how long did each take? A value that is told the time.
//!
//! With a set rate a command is due at a time that does not depend on how the ones before it fare, and its latency counts
//! from then: a processor that stands still for a second makes everything late that was due in that second, and not only
//! what happened to be in flight. Who counts from when a command was sent leaves that out (coordinated omission).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// The longest latency that is told from longer ones.
const LATENCY_MAX: Duration = Duration::from_secs(120);

/// Digits of a latency that count: an error of 0.1 % at most.
const DIGITS: u8 = 3;

/// A window of messages in flight, with or without a set rate.
pub(super) struct Pace {
    window: usize,
    rate: Option<f64>,
    started: Instant,
    /// Number of the first in `in_flight`.
    first: u64,
    /// What has been sent, in order; `None`: it has been answered.
    in_flight: VecDeque<Option<Sent>>,
    unanswered: usize,
    answered_commands: u64,
    latencies: Histogram<u64>,
}

struct Sent {
    /// From when its latency counts.
    from: Instant,
    commands: u64,
}

impl Pace {
    pub(super) fn new(window: usize, rate: Option<f64>, started: Instant) -> Pace {
        let longest = u64::try_from(LATENCY_MAX.as_micros()).expect("it is a constant");
        Pace {
            window,
            rate,
            started,
            first: 0,
            in_flight: VecDeque::with_capacity(window),
            unanswered: 0,
            answered_commands: 0,
            latencies: Histogram::new_with_bounds(1, longest, DIGITS).expect("the bounds are constants"),
        }
    }

    /// The number that the next message gets.
    pub(super) fn next(&self) -> u64 {
        self.first + self.in_flight.len() as u64
    }

    /// When the next one is due; `None`: as soon as the window has room.
    fn due(&self) -> Option<Instant> {
        self.rate.map(|rate| self.started + Duration::from_secs_f64(self.next() as f64 / rate))
    }

    /// Whether nothing more is to go out: with a set rate, when everything that was due before the end has.
    pub(super) fn has_ended(&self, end: Instant, now: Instant) -> bool {
        end <= self.due().unwrap_or(now)
    }

    pub(super) fn has_room(&self) -> bool {
        self.unanswered < self.window
    }

    pub(super) fn may_send(&self, now: Instant) -> bool {
        self.has_room() && self.due().is_none_or(|due| due <= now)
    }

    /// The next message goes out.
    pub(super) fn sent(&mut self, commands: u64, now: Instant) {
        let from = self.due().unwrap_or(now);
        self.in_flight.push_back(Some(Sent { from, commands }));
        self.unanswered += 1;
    }

    /// Whether this is its first answer. Something may be delivered, and answered, twice.
    pub(super) fn answered(&mut self, number: u64, now: Instant) -> bool {
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        let Some(sent) = index.and_then(|index| self.in_flight.get_mut(index)?.take()) else { return false };
        let micros = now.saturating_duration_since(sent.from).as_micros();
        self.latencies.saturating_record(u64::try_from(micros).unwrap_or(u64::MAX).max(1));
        self.answered_commands += sent.commands;
        self.unanswered -= 1;
        while let Some(None) = self.in_flight.front() {
            self.in_flight.pop_front();
            self.first += 1;
        }
        true
    }

    pub(super) fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// Commands that have been answered, and how long each message took, in microseconds.
    pub(super) fn into_answered(self) -> (u64, Histogram<u64>) {
        (self.answered_commands, self.latencies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Everything is answered within a millisecond, apart from one second in which nothing is.
    fn with_a_stall(rate: Option<f64>, window: usize) -> Histogram<u64> {
        let started = Instant::now();
        let mut pace = Pace::new(window, rate, started);
        for tick in 0..2_000_u32 {
            let now = started + tick * MS;
            while pace.may_send(now) {
                pace.sent(1, now);
                if rate.is_none() {
                    break; // One each millisecond is what the processor does.
                }
            }
            let stalls = (500..1_500).contains(&tick);
            for number in pace.first..pace.next() {
                if !stalls {
                    pace.answered(number, now + MS);
                }
            }
        }
        let (_, latencies) = pace.into_answered();
        latencies
    }

    #[test]
    fn a_stall_counts_for_all_that_was_due_in_it() {
        let corrected = with_a_stall(Some(1_000.0), 10);
        // 1,000 of 2,000 were due while nothing was answered, and waited for 0 to 1,000 ms; and 111 more while those were
        // worked off, ten of them in the time of one.
        assert_eq!(corrected.len(), 2_000);
        let ms = |quantile| corrected.value_at_quantile(quantile) / 1_000;
        assert!((1..=2).contains(&ms(0.44)), "{}", ms(0.44));
        assert!((530..=570).contains(&ms(0.75)), "{}", ms(0.75));
        assert!((970..=1_001).contains(&ms(0.99)), "{}", ms(0.99));
    }

    /// What is left out without a rate: only the ten in flight have seen the stall.
    #[test]
    fn without_a_rate_only_what_is_in_flight_sees_a_stall() {
        let latencies = with_a_stall(None, 10);
        assert!(latencies.len() < 1_100);
        assert!(latencies.value_at_quantile(0.98) < 2_000);
        assert!(latencies.max() > 900_000);
    }

    #[test]
    fn the_window_bounds_what_is_in_flight() {
        let now = Instant::now();
        let mut pace = Pace::new(2, None, now);
        pace.sent(1, now);
        assert!(pace.may_send(now));
        pace.sent(100, now);
        assert!(!pace.may_send(now));
        assert!(pace.answered(1, now + MS));
        assert!(pace.may_send(now));
        assert_eq!((pace.next(), pace.unanswered()), (2, 1));
        assert!(!pace.answered(1, now + MS), "twice");
        assert!(!pace.answered(2, now + MS), "never sent");
        assert!(pace.answered(0, now + MS));
        assert!(!pace.answered(0, now + MS), "twice, and long gone");
        assert_eq!((pace.next(), pace.unanswered()), (2, 0));
        let (commands, latencies) = pace.into_answered();
        assert_eq!((commands, latencies.len()), (101, 2));
    }

    #[test]
    fn a_rate_makes_the_next_one_wait_until_it_is_due() {
        let started = Instant::now();
        let mut pace = Pace::new(10, Some(100.0), started);
        assert!(pace.may_send(started));
        pace.sent(1, started);
        assert!(!pace.may_send(started + 9 * MS));
        assert!(pace.may_send(started + 10 * MS));
    }

    /// A rate that cannot be kept up leaves a backlog, which belongs to what was measured.
    #[test]
    fn with_a_rate_it_ends_when_all_that_was_due_is_sent() {
        let (started, end) = (Instant::now(), Instant::now() + 20 * MS);
        let mut pace = Pace::new(10, Some(100.0), started);
        pace.sent(1, started);
        assert!(!pace.has_ended(end, end + MS), "what was due after 10 ms is not sent yet");
        pace.sent(1, end + MS);
        pace.sent(1, end + MS);
        assert!(pace.has_ended(end, end + MS));
        let pace = Pace::new(10, None, started);
        assert!(!pace.has_ended(end, end - MS) && pace.has_ended(end, end));
    }
}

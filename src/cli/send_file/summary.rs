//! What came of all commands of a file.

use std::collections::BTreeMap;

use crate::cli::exit::Exit;
use crate::client::{RawOutcome, SendError};
use crate::model::Decision;

/// So many failures are shown one by one; a file may have millions of them.
const SHOWN_MAX: usize = 10;

/// Numbers of outcomes, by kind.
#[derive(Debug, Default)]
pub(super) struct Summary {
    accepted: u64,
    replayed: u64,
    rejected: BTreeMap<String, u64>,
    refused: BTreeMap<String, u64>,
    not_sent: u64,
    unknown: u64,
    /// Failures of the first lines that have one, to be shown.
    shown: Vec<String>,
    /// Of what counts most among what was seen.
    exit: Option<Exit>,
}

/// What the caller must do about it, the most pressing first: send again, get permission, mend, look.
const MOST_PRESSING: [Exit; 7] =
    [Exit::Unknown, Exit::Unreachable, Exit::NotPermitted, Exit::Usage, Exit::Failed, Exit::Conflict, Exit::Rejected];

impl Summary {
    pub(super) fn add(&mut self, line: u64, settled: &Result<RawOutcome, SendError>) {
        let exit = match settled {
            Ok(raw) => {
                self.replayed += u64::from(raw.replayed);
                match &raw.outcome.decision {
                    Decision::Accepted(_) => self.accepted += 1,
                    Decision::Rejected(rejection) => *self.rejected.entry(rejection.reason.clone()).or_default() += 1,
                }
                Exit::of(&raw.outcome)
            }
            Err(error) => {
                match error {
                    SendError::Refused { refusal, .. } => {
                        *self.refused.entry(refusal.reason.to_string()).or_default() += 1;
                    }
                    SendError::Encode(_) | SendError::NotSent(_) => self.not_sent += 1,
                    SendError::Unknown { .. } | SendError::Unreadable { .. } => self.unknown += 1,
                }
                if self.shown.len() < SHOWN_MAX {
                    self.shown.push(format!("line {line}: {}", crate::model::error::with_sources(error)));
                }
                Exit::of_error(error)
            }
        };
        self.press(exit);
    }

    /// Counts those that were under way when the sending was interrupted.
    pub(super) fn interrupted(&mut self, under_way: u64) {
        self.unknown += under_way;
        self.press(Exit::Unknown);
    }

    fn press(&mut self, exit: Exit) {
        let rank = |exit: Exit| MOST_PRESSING.iter().position(|other| *other == exit).unwrap_or(usize::MAX);
        if self.exit.is_none_or(|before| rank(exit) < rank(before)) {
            self.exit = Some(exit);
        }
    }

    pub(super) fn exit(&self) -> Exit {
        self.exit.unwrap_or(Exit::Done)
    }

    /// Failures, one line each.
    pub(super) fn shown(&self) -> &[String] {
        &self.shown
    }

    pub(super) fn settled(&self) -> u64 {
        let of = |reasons: &BTreeMap<String, u64>| reasons.values().sum::<u64>();
        self.accepted + of(&self.rejected) + of(&self.refused)
    }

    /// All that were tried.
    pub(super) fn total(&self) -> u64 {
        self.settled() + self.not_sent + self.unknown
    }

    /// What happened how often.
    pub(super) fn rows(&self) -> Vec<(&'static str, String)> {
        let reasons = |reasons: &BTreeMap<String, u64>| {
            let total: u64 = reasons.values().sum();
            let named: Vec<_> = reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
            if named.is_empty() { total.to_string() } else { format!("{total} ({})", named.join(", ")) }
        };
        let mut rows = vec![
            ("accepted", self.accepted.to_string()),
            ("rejected", reasons(&self.rejected)),
            ("refused", reasons(&self.refused)),
            ("unknown", self.unknown.to_string()),
        ];
        if self.not_sent > 0 {
            rows.push(("not sent", self.not_sent.to_string()));
        }
        rows.push(("replayed", format!("{} of them were decided before", self.replayed)));
        rows
    }
}

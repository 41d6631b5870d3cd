//! What is measured: who answers, what is sent, and which answers count.

use clap::ValueEnum;

use super::role::Role;
use crate::bench::{Expect, Ids, Source};

/// Bytes of a body.
pub(super) const BODY_BYTES: usize = 256;

/// Aggregates that commands go to, if nothing else is said. Fewer than the processor keeps in memory.
const AGGREGATES: u64 = 10_000;

/// Windows, if none is named.
const WINDOWS: [usize; 4] = [1, 64, 1_024, 4_096];

/// The window of those that are measured at one.
pub(super) const WINDOW: usize = 1_024;

/// Commands of a batch, and batches in flight, of the workload of that name.
const BATCH_COMMANDS: usize = 100;
const BATCH_WINDOW: usize = 16;

/// What may be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Workload {
    /// New commands, spread over 10,000 aggregates
    Single,
    /// New commands, as single, to a processor that copies its commits to the feed
    Fed,
    /// Commands of which every one is recorded already
    Retries,
    /// New commands, all to one aggregate
    Hot,
    /// New commands, spread over more aggregates than are kept in memory
    Wide,
    /// New commands in batches of 100, 16 of them in flight
    Batches,
    /// The usual way: an event of each command in a JetStream stream, acknowledged before the reply
    Usual,
    /// New commands to stores that hold fewer and more, with UUIDv7 and random ids
    Growth,
    /// No commands: a history of the sample domain is read from its files and folded, and only parsed, by one thread
    Replay,
    /// All of them
    All,
}

/// A workload that is measured in a world of its own, beside the others of its window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    /// Single commands, to who only answers.
    Floor,
    Single,
    Fed,
    Retries,
    Hot,
    Wide,
    Batches,
    Usual,
    UsualPipelined,
}

impl Case {
    pub(super) fn name(self) -> &'static str {
        match self {
            Case::Floor => "floor",
            Case::Single => "single",
            Case::Fed => "fed",
            Case::Retries => "retries",
            Case::Hot => "hot",
            Case::Wide => "wide",
            Case::Batches => "batches",
            Case::Usual => "usual",
            Case::UsualPipelined => "usual, pipelined",
        }
    }

    pub(super) fn role(self) -> Role {
        match self {
            Case::Floor => Role::Echo,
            Case::Fed => Role::FedProcessor,
            Case::Usual => Role::Usual,
            Case::UsualPipelined => Role::UsualPipelined,
            Case::Single | Case::Retries | Case::Hot | Case::Wide | Case::Batches => Role::Processor,
        }
    }

    pub(super) fn expect(self) -> Expect {
        match self {
            Case::Floor => Expect::Anything,
            Case::Retries => Expect::Replayed,
            Case::Batches => Expect::AllAccepted(BATCH_COMMANDS),
            _ => Expect::Accepted,
        }
    }

    /// What it is compared with, besides the floor.
    pub(super) fn compared(self) -> Option<Case> {
        (!matches!(self, Case::Floor | Case::Single)).then_some(Case::Single)
    }

    /// What is sent; `wide`: aggregates of the workload of that name.
    pub(super) fn source(self, wide: u64) -> Source {
        let aggregates = match self {
            Case::Hot => 1,
            Case::Wide => wide,
            _ => AGGREGATES,
        };
        let source = Source::new(Ids::V7, aggregates, BODY_BYTES);
        if self == Case::Batches { source.in_batches_of(BATCH_COMMANDS as u64) } else { source }
    }

    /// Messages in flight beside singles with this window.
    pub(super) fn window(self, window: usize) -> usize {
        if self == Case::Batches { BATCH_WINDOW } else { window }
    }

    /// Whether it is measured at one window only, if none is named.
    fn has_one_window(self) -> bool {
        matches!(self, Case::Fed | Case::Retries | Case::Hot | Case::Wide)
    }
}

/// New commands of one kind of id, as those of `single`.
pub(super) fn single(ids: Ids) -> Source {
    Source::new(ids, AGGREGATES, BODY_BYTES)
}

/// What one run measures: each window with its cases, in turn. What others are compared with is among them.
pub(super) fn plan(chosen: &[Workload], windows: &[usize]) -> Vec<(usize, Vec<Case>)> {
    let mut cases = Vec::new();
    for (workload, its_cases) in [
        (Workload::Fed, &[Case::Fed][..]),
        (Workload::Retries, &[Case::Retries]),
        (Workload::Hot, &[Case::Hot]),
        (Workload::Wide, &[Case::Wide]),
        (Workload::Batches, &[Case::Batches]),
        (Workload::Usual, &[Case::Usual, Case::UsualPipelined]),
    ] {
        if is_chosen(chosen, workload) {
            cases.extend_from_slice(its_cases);
        }
    }
    let with_single = is_chosen(chosen, Workload::Single);
    let defaults = &WINDOWS[..];
    let mut plan = Vec::new();
    // They have a window of their own, so that they would be the same beside each.
    let beside_batches = windows.iter().copied().max().unwrap_or(WINDOW);
    for &window in if windows.is_empty() { defaults } else { windows } {
        let is_measured = |case: &Case| match case {
            Case::Batches => window == beside_batches,
            _ => !case.has_one_window() || !windows.is_empty() || window == WINDOW,
        };
        let others: Vec<Case> = cases.iter().copied().filter(is_measured).collect();
        if with_single || !others.is_empty() {
            plan.push((window, [vec![Case::Floor, Case::Single], others].concat()));
        }
    }
    plan
}

pub(super) fn is_chosen(chosen: &[Workload], workload: Workload) -> bool {
    chosen.iter().any(|one| matches!(one, Workload::All) || *one == workload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compared_with_is_measured_too() {
        use Case::{Batches, Fed, Floor, Hot, Retries, Single, Usual, UsualPipelined, Wide};
        let singles: Vec<_> = WINDOWS.iter().map(|window| (*window, vec![Floor, Single])).collect();
        assert_eq!(plan(&[Workload::Single], &[]), singles);
        assert_eq!(plan(&[Workload::Hot], &[]), [(1_024, vec![Floor, Single, Hot])]);
        assert_eq!(plan(&[Workload::Hot], &[8]), [(8, vec![Floor, Single, Hot])]);
        assert_eq!(plan(&[Workload::Growth], &[]), []);
        assert_eq!(plan(&[Workload::Replay], &[]), []);
        assert_eq!(plan(&[Workload::Usual], &[1]), [(1, vec![Floor, Single, Usual, UsualPipelined])]);
        let beside = [(1_024, vec![Floor, Single, Batches])];
        assert_eq!(plan(&[Workload::Batches], &[]), beside);
        assert_eq!(plan(&[Workload::Batches], &[64, 1_024, 1]), beside, "one of their own is enough");
        let all = plan(&[Workload::All], &[]);
        assert_eq!(all[0], (1, vec![Floor, Single, Usual, UsualPipelined]));
        assert_eq!(all[2], (1_024, vec![Floor, Single, Fed, Retries, Hot, Wide, Batches, Usual, UsualPipelined]));
    }
}

//! What is taken in at once is decided at once: a turn. What does a turn lack, and whose turn is it?

use std::collections::{HashMap, HashSet, VecDeque};

use super::batch::BatchIntent;
use super::intake::Intent;
use super::live::LiveAggregates;
use super::question::{Ask, Question};
use super::recent::Recent;
use crate::aggregate::{Folded, Service};
use crate::model::batch::Item as BatchItem;
use crate::model::{AggregateId, Commit, Identity, Timestamp};

/// Turns that may be taken in and not decided yet. While the first is decided, the loader has work; many more would only
/// make commands wait here instead of at the broker.
pub(super) const TURNS_MAX: usize = 4;

/// Which turn.
pub type TurnNumber = u64;

/// What memory does not know.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Ids of which the index says whether they are known.
    pub identities: HashSet<Identity>,
    /// Aggregates whose state is to be folded.
    pub aggregates: HashSet<AggregateId>,
}

impl Wanted {
    fn is_empty(&self) -> bool {
        self.identities.is_empty() && self.aggregates.is_empty()
    }
}

/// What is recorded under an id.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Its commit.
    pub commit: Commit,
    /// The commits of its commands, if it is an atomic batch: as many as [`CommitRecord::followers`](crate::model::CommitRecord::followers) says.
    pub followers: Vec<Commit>,
}

/// A command's own commit, with nothing behind it.
impl From<Commit> for Recorded {
    fn from(commit: Commit) -> Recorded {
        Recorded { commit, followers: Vec::new() }
    }
}

/// What a look-up found: an answer for everything that was wanted.
#[derive(Debug, Default)]
pub struct Found {
    /// What is recorded under each id; `None`: the index does not know it.
    pub commits: HashMap<Identity, Option<Recorded>>,
    /// The state of each aggregate, or why it cannot be folded.
    pub aggregates: HashMap<AggregateId, Result<Folded, String>>,
}

/// What was taken in at once.
#[derive(Debug)]
pub(super) struct Turn {
    number: TurnNumber,
    pub(super) items: Vec<Item>,
    pub(super) now: Timestamp,
    pub(super) found: Found,
    /// How much memory had dropped when it was seen what the turn lacks.
    dropped_when_seen: u64,
    /// Whether a `Load` is under way for it.
    awaits: bool,
    pub(super) failed: Option<String>,
}

#[derive(Debug)]
pub(super) enum Item {
    Command(Box<Intent>),
    Batch(Box<BatchIntent>),
    Question(Box<Question>),
}

/// What answers before any look-up does.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory<'a> {
    pub(super) recent: &'a Recent,
    pub(super) live: &'a LiveAggregates,
    pub(super) service: &'a Service,
}

impl Memory<'_> {
    /// How much it has dropped so far. While that stays the same, it only knows more.
    fn dropped(&self) -> u64 {
        self.recent.dropped() + self.live.dropped()
    }
}

/// What is to be done with the turn at the front.
#[derive(Debug)]
pub(super) enum Next {
    /// Decide it.
    Decide(Turn),
    /// Look this up for it.
    Load(TurnNumber, Wanted),
}

/// The turns that are not decided yet, in the order in which they were taken in.
#[derive(Debug, Default)]
pub(super) struct Turns {
    waiting: VecDeque<Turn>,
    next: TurnNumber,
}

impl Turns {
    /// Puts a turn behind the others, and says at once what memory lacks: by its turn the answer may be here.
    pub(super) fn enqueue(
        &mut self,
        items: Vec<Item>,
        now: Timestamp,
        memory: Memory<'_>,
    ) -> Option<(TurnNumber, Wanted)> {
        let number = self.next;
        self.next += 1;
        let (found, dropped_when_seen) = (Found::default(), memory.dropped());
        let mut turn = Turn { number, items, now, found, dropped_when_seen, awaits: false, failed: None };
        let wanted = turn.lacks(memory);
        turn.awaits = !wanted.is_empty();
        self.waiting.push_back(turn);
        (!wanted.is_empty()).then_some((number, wanted))
    }

    /// A turn that waited for a look-up goes on.
    pub(super) fn resume(&mut self, number: TurnNumber, with: impl FnOnce(&mut Turn)) {
        let offset = usize::try_from(number - self.oldest()).expect("turns under way are few");
        let turn = self.waiting.get_mut(offset).expect("a turn leaves only after its look-up has returned");
        assert!(turn.awaits && turn.number == number, "turn {number} did not ask");
        with(turn);
        turn.awaits = false;
    }

    /// What is to be done with the turn at the front; `None`: nothing, it waits.
    pub(super) fn next(&mut self, memory: Memory<'_>) -> Option<Next> {
        let turn = self.waiting.front_mut()?;
        if turn.awaits {
            return None;
        }
        // Looked at again if memory has let go of something since (rule 3).
        if turn.failed.is_none() && turn.dropped_when_seen != memory.dropped() {
            turn.dropped_when_seen = memory.dropped();
            let wanted = turn.lacks(memory);
            if !wanted.is_empty() {
                turn.awaits = true;
                return Some(Next::Load(turn.number, wanted));
            }
        }
        self.waiting.pop_front().map(Next::Decide)
    }

    /// The number of the turn at the front, or of the next one.
    pub(super) fn oldest(&self) -> TurnNumber {
        self.waiting.front().map_or(self.next, |turn| turn.number)
    }

    /// The number that the next turn gets.
    pub(super) fn upcoming(&self) -> TurnNumber {
        self.next
    }

    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < TURNS_MAX
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many commands and questions wait in all of them.
    pub(super) fn item_count(&self) -> usize {
        let weight = |item: &Item| match item {
            Item::Batch(batch) => batch.batch.items.len(),
            Item::Command(_) | Item::Question(_) => 1,
        };
        self.waiting.iter().flat_map(|turn| &turn.items).map(weight).sum()
    }
}

impl Turn {
    /// What neither memory nor this turn's own look-ups know.
    fn lacks(&self, memory: Memory<'_>) -> Wanted {
        let mut wanted = Wanted::default();
        for item in &self.items {
            match item {
                Item::Command(intent) => {
                    self.want_identity(&intent.command.identity, memory, &mut wanted);
                    self.want_aggregate(&intent.command.aggregate, memory, &mut wanted);
                }
                Item::Batch(batch) => {
                    if batch.batch.atomic {
                        self.want_identity(&batch.identity, memory, &mut wanted);
                    }
                    for item in &batch.batch.items {
                        let aggregate = match item {
                            BatchItem::Command(command) => {
                                self.want_identity(&batch.identity_of(command), memory, &mut wanted);
                                &command.aggregate
                            }
                            BatchItem::Check(check) => &check.aggregate,
                        };
                        self.want_aggregate(aggregate, memory, &mut wanted);
                    }
                }
                Item::Question(question) => match &question.ask {
                    Ask::Outcome { identity, .. } => self.want_identity(identity, memory, &mut wanted),
                    Ask::State { aggregate } => self.want_aggregate(aggregate, memory, &mut wanted),
                },
            }
        }
        wanted
    }

    fn want_identity(&self, identity: &Identity, memory: Memory<'_>, wanted: &mut Wanted) {
        let answers = memory.recent.excludes(identity) || memory.recent.get(identity).is_some();
        if !answers && !self.found.commits.contains_key(identity) {
            wanted.identities.insert(identity.clone());
        }
    }

    fn want_aggregate(&self, aggregate: &AggregateId, memory: Memory<'_>, wanted: &mut Wanted) {
        if !memory.live.contains(aggregate)
            && !self.found.aggregates.contains_key(aggregate)
            && memory.service.serves(&aggregate.kind)
        {
            wanted.aggregates.insert(aggregate.clone());
        }
    }

    pub(super) fn why_not_folded(&self, aggregate: &AggregateId) -> String {
        match (self.found.aggregates.get(aggregate), &self.failed) {
            (Some(Err(why)), _) | (None, Some(why)) => why.clone(),
            _ => "the aggregate was not looked up".to_owned(),
        }
    }
}

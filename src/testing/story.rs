//! The words of a story.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;

use super::check::{Asked, Culprit};
use super::files::Files;
use super::home::Home;
use super::live::Nats;
use super::machine::Memory;
use super::message::Message;
use super::telling::{aggregate_of, start};
use crate::aggregate::{Address, Aggregate, Service};
use crate::model::outcome::Reply;
use crate::model::{AggregateId, Identity, Principal, Timestamp, Version};

/// When every story begins. Farther ahead than any clock, so that a processor with a real one keeps to it too: it decides
/// nothing earlier than the commit before.
pub(super) const START: &str = "3000-01-01T00:00:00Z";

/// Who sends a command of which nothing else is said.
pub(super) const SOMEBODY: &str = "alice";

/// Where a story runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In memory: the fastest, and the one to start with.
    Memory,
    /// On files in a temporary folder: the journal and the index that are shipped.
    Files {
        /// After which step, counted from 1, the processor is killed and recovers, without a word in the story.
        crash_after: Option<u32>,
    },
    /// On a nats-server of its own, with a processor and a client as they run in production. Takes about a second for
    /// each thing that is given, each `after` and each copy. There must be a nats-server: see `scripts/nats-server`.
    Nats,
}

/// A story of a service: what is given, what is sent, what comes of it. Each word happens when it is said, on the shipped
/// processor, and is checked at once; the whole is a text for a snapshot.
///
/// ```
/// use hapax::samples::{Account, AccountCommand::*, AccountEvent::*};
/// use hapax::testing::Story;
/// use hapax::{Aggregate, samples};
///
/// let story = Story::of(samples::service())
///     .given(Account::at("42"), [Opened { owner: "ann".to_owned() }, Deposited { amount: 100 }])
///     .when(Account::at("42"), Withdraw { amount: 500 })
///     .rejected("insufficient_funds")
///     .when(Account::at("42"), Deposit { amount: 1000 })
///     .accepted([Deposited { amount: 1000 }])
///     .again("c1");
/// assert!(story.to_string().ends_with("c1 again\n   replayed: the first outcome, nothing happens"));
/// ```
///
/// Commands are called `c1`, `c2` …, batches `b1`, `b2` …, in the order in which they are sent. Every word panics, at the
/// line where it stands, if one of the checks of [this module](super) fails.
pub struct Story {
    pub(super) service: Arc<Service>,
    pub(super) home: Box<dyn Home>,
    place: Place,
    pub(super) now: Timestamp,
    /// Said, and meant for the next command.
    pub(super) next: Next,
    pub(super) commands: u32,
    pub(super) batches: u32,
    pub(super) voids: u32,
    pub(super) givens: u32,
    pub(super) steps: u32,
    pub(super) sent: BTreeMap<String, Sent>,
    /// First outcomes.
    pub(super) first: BTreeMap<Identity, Bytes>,
    pub(super) known: BTreeSet<AggregateId>,
    pub(super) informs: BTreeSet<String>,
    pub(super) last: Option<Last>,
    pub(super) blocks: Vec<String>,
}

#[derive(Default, PartialEq)]
pub(super) struct Next {
    pub(super) by: Option<Principal>,
    pub(super) expecting: Option<Version>,
    pub(super) not_after: Option<Timestamp>,
}

#[derive(Clone)]
pub(super) struct Sent {
    pub(super) message: Message,
    pub(super) asked: Vec<(String, AggregateId, Arc<dyn Asked>)>,
}

impl Next {
    fn is_none(&self) -> bool {
        *self == Next::default()
    }
}

/// As they stand in the story.
impl fmt::Display for Next {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = self.by.as_ref().map(|by| format!("by({:?})", by.as_str()));
        let expecting = self.expecting.map(|version| format!("expecting({version})"));
        let not_after = self.not_after.map(|_| "not_after(…)".to_owned());
        f.write_str(&[by, expecting, not_after].into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

/// What an assertion is about.
pub(super) struct Last {
    pub(super) name: String,
    pub(super) reply: Reply,
}

/// One item of a batch: see [`command`] and [`check`].
pub struct Item {
    pub(super) what: ItemWhat,
    pub(super) expecting: Option<Version>,
}

pub(super) enum ItemWhat {
    Command(Arc<dyn Asked>),
    Check(Result<AggregateId, Culprit>, Version),
}

/// A command as an item of a batch.
pub fn command<A: Aggregate>(to: Address<A>, command: A::Command) -> Item {
    Item { what: ItemWhat::Command(Arc::new((to, command))), expecting: None }
}

/// A check as an item of a batch: the batch is rejected unless the aggregate has had exactly so many events.
pub fn check<A: Aggregate>(of: Address<A>, version: u64) -> Item {
    Item { what: ItemWhat::Check(aggregate_of(&of), Version(version)), expecting: None }
}

impl Item {
    /// Decide the command only if its aggregate has had exactly so many events.
    #[must_use]
    pub fn expecting(mut self, version: u64) -> Item {
        self.expecting = Some(Version(version));
        self
    }
}

impl Story {
    /// A story in memory.
    pub fn of(service: impl Into<Arc<Service>>) -> Story {
        let service = service.into();
        Story::told(Box::new(Memory::home(service.clone())), service, Place::Memory)
    }

    /// A story in some other place.
    ///
    /// # Panics
    /// If the place cannot be made: no nats-server, no room.
    #[track_caller]
    pub fn at(place: Place, service: impl Into<Arc<Service>>) -> Story {
        let service = service.into();
        let home: Result<Box<dyn Home>, String> = match place {
            Place::Memory => Ok(Box::new(Memory::home(service.clone()))),
            Place::Files { .. } => Files::home(service.clone()).map(|home| Box::new(home) as Box<dyn Home>),
            Place::Nats => Nats::home(service.clone()).map(|home| Box::new(home) as Box<dyn Home>),
        };
        match home {
            Ok(home) => Story::told(home, service, place),
            Err(trouble) => panic!("the story cannot begin: {trouble}"),
        }
    }

    pub(super) fn told(home: Box<dyn Home>, service: Arc<Service>, place: Place) -> Story {
        Story {
            service,
            home,
            place,
            now: start(),
            next: Next::default(),
            commands: 0,
            batches: 0,
            voids: 0,
            givens: 0,
            steps: 0,
            sent: BTreeMap::new(),
            first: BTreeMap::new(),
            known: BTreeSet::new(),
            informs: BTreeSet::new(),
            last: None,
            blocks: Vec::new(),
        }
    }

    /// Events of this type may leave the state as it is: they only inform. Of all others that is taken for an `evolve`
    /// that forgets something.
    pub fn informs(mut self, event: &str) -> Story {
        self.informs.insert(event.to_owned());
        self
    }

    /// These events have happened.
    ///
    /// # Panics
    /// If the aggregate is not served, or a check fails.
    #[track_caller]
    pub fn given<A: Aggregate>(mut self, to: Address<A>, events: impl IntoIterator<Item = A::Event>) -> Story {
        let events: Vec<_> = events.into_iter().collect();
        let result = self.guards_nothing().and_then(|()| self.give::<A>(&to, &events));
        self.or_panic("given", result)
    }

    /// The next command is this principal's; of another nobody says so it is alice's.
    ///
    /// # Panics
    /// If the name is no token.
    #[track_caller]
    pub fn by(mut self, principal: &str) -> Story {
        match Principal::parse(principal) {
            Ok(principal) => self.next.by = Some(principal),
            Err(error) => panic!("by({principal:?}): {error}"),
        }
        self
    }

    /// The next command is decided only if its aggregate has had exactly so many events.
    pub fn expecting(mut self, version: u64) -> Story {
        self.next.expecting = Some(Version(version));
        self
    }

    /// The next command is decided only within this time from now, also if it waits meanwhile: see [`Story::after`].
    pub fn not_after(mut self, duration: Duration) -> Story {
        self.next.not_after = Some(self.now.plus(duration));
        self
    }

    /// Time passes. It does in no other way.
    ///
    /// # Panics
    /// If a check fails.
    #[track_caller]
    pub fn after(mut self, duration: Duration) -> Story {
        self.now = self.now.plus(duration);
        self.tell(format!("after {duration:?}"));
        let result = self.step_done();
        self.or_panic("after", result)
    }

    /// A command is sent.
    ///
    /// # Panics
    /// If a check fails.
    #[track_caller]
    pub fn when<A: Aggregate>(mut self, to: Address<A>, command: A::Command) -> Story {
        self.commands += 1;
        let name = format!("c{}", self.commands);
        let result = self.send_command(&name, Arc::new((to, command)));
        self.or_panic(&name, result)
    }

    /// The same message is delivered again: its sender has lost the reply, or the broker its acknowledgement.
    ///
    /// # Panics
    /// If nothing of this name was sent, or a check fails.
    #[track_caller]
    pub fn again(mut self, name: &str) -> Story {
        let result = self.guards_nothing().and_then(|()| self.send_again(name));
        self.or_panic(name, result)
    }

    /// Another command is sent under an id that was used before. It must go to the same key, or the id is another's.
    ///
    /// # Panics
    /// If nothing of this name was sent, or a check fails.
    #[track_caller]
    pub fn reuse<A: Aggregate>(mut self, name: &str, to: Address<A>, command: A::Command) -> Story {
        let result = self.send_other(name, Arc::new((to, command)));
        self.or_panic(name, result)
    }

    /// An id is given up by its sender, who wants certainty: of a command that was sent, or of the next one that will be
    /// (it then comes too late).
    ///
    /// # Panics
    /// If the name is none of a command, or a check fails.
    #[track_caller]
    pub fn void<A: Aggregate>(mut self, to: Address<A>, name: &str) -> Story {
        let result = self.send_void(&to, name);
        self.or_panic(name, result)
    }

    /// Several commands are sent as one atomic batch: all are accepted, or all rejected.
    ///
    /// # Panics
    /// If there is no command among the items, or a check fails.
    #[track_caller]
    pub fn batch(mut self, items: impl IntoIterator<Item = Item>) -> Story {
        self.batches += 1;
        let name = format!("b{}", self.batches);
        let result = self.send_batch(&name, items.into_iter().collect());
        self.or_panic(&name, result)
    }

    /// The processor is killed here, and another goes on with what is left.
    ///
    /// # Panics
    /// If it has lost something.
    #[track_caller]
    pub fn crash(mut self) -> Story {
        let result = self.guards_nothing().and_then(|()| {
            self.tell("crash, and recovery".to_owned());
            self.crash_and_look()
        });
        self.or_panic("crash", result)
    }

    /// Shows a state in full.
    ///
    /// # Panics
    /// If it cannot be asked for.
    #[track_caller]
    pub fn show<A: Aggregate>(mut self, of: Address<A>) -> Story {
        let shown = self.guards_nothing().and_then(|()| {
            let aggregate = aggregate_of(&of)?;
            let live = self.home.state(&aggregate, self.now)?;
            Ok(format!("state {aggregate} v{} {}", live.version, live.state))
        });
        let result = shown.map(|block| self.tell(block));
        self.or_panic("show", result)
    }

    /// A state, as it is now.
    ///
    /// # Panics
    /// If it cannot be asked for.
    #[track_caller]
    pub fn state<A: Aggregate>(&mut self, of: &Address<A>) -> A {
        let state = self.guards_nothing().and_then(|()| {
            let aggregate = aggregate_of(of)?;
            let live = self.home.state(&aggregate, self.now)?;
            serde_json::from_str(live.state.get()).map_err(|error| Culprit::from(error.to_string()))
        });
        match state {
            Ok(state) => state,
            Err(culprit) => self.panic("state", &culprit),
        }
    }

    /// What was sent last was accepted, with exactly these events; a batch, with these of all its commands.
    /// `accepted::<AccountEvent>([])`: it was so already.
    ///
    /// # Panics
    /// If it was not.
    #[track_caller]
    pub fn accepted<E: Serialize>(self, events: impl IntoIterator<Item = E>) -> Story {
        let events: Vec<_> = events.into_iter().collect();
        let result = self.guards_nothing().and_then(|()| self.compare(&events));
        self.or_panic("accepted", result)
    }

    /// What was sent last was rejected for this reason; a batch, one of its commands was.
    ///
    /// # Panics
    /// If it was not.
    #[track_caller]
    pub fn rejected(self, reason: &str) -> Story {
        let result = self.guards_nothing().and_then(|()| self.expect_no("rejected", reason));
        self.or_panic("rejected", result)
    }

    /// What was sent last was refused for this reason: nothing was recorded for it.
    ///
    /// # Panics
    /// If it was not.
    #[track_caller]
    pub fn refused(self, reason: &str) -> Story {
        let result = self.guards_nothing().and_then(|()| self.expect_no("refused", reason));
        self.or_panic("refused", result)
    }

    /// Whether nothing is said that is meant for the next command: every other word would leave it hanging.
    fn guards_nothing(&self) -> Result<(), Culprit> {
        if self.next.is_none() {
            return Ok(());
        }
        let what = format!("{} is meant for the next command, and this is none: say it right before that", self.next);
        Err(Culprit::from(what))
    }

    /// How many steps it has had: places where a crash may happen.
    pub(super) fn steps(&self) -> u32 {
        self.steps
    }

    /// Whether a crash happens here without a word.
    pub(super) fn crashes_now(&self) -> bool {
        self.place == Place::Files { crash_after: Some(self.steps) }
    }

    #[track_caller]
    fn or_panic(self, word: &str, result: Result<(), Culprit>) -> Story {
        match result {
            Ok(()) => self,
            Err(culprit) => self.panic(word, &culprit),
        }
    }

    #[track_caller]
    fn panic(&self, word: &str, culprit: &Culprit) -> ! {
        let told = if self.blocks.is_empty() { String::new() } else { format!("\n\nThe story up to here:\n\n{self}") };
        let place = if self.place == Place::Memory { String::new() } else { format!("in {:?}, ", self.place) };
        panic!("{place}{word}: {culprit}{told}\n");
    }
}

/// A guard of no command is a test that cannot fail.
impl Drop for Story {
    fn drop(&mut self) {
        if !self.next.is_none() && !std::thread::panicking() {
            panic!("the story ends, and no command comes for {}", self.next);
        }
    }
}

/// The whole text.
impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.blocks.join("\n\n"))
    }
}

//! A jar of coins, sound or with one fault. Nothing in its stories asks for what is wrong: the checks at each step find it.

use std::collections::HashSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use hapax::testing::{Place, Story, everywhere, offline};
use hapax::{Aggregate, Context, Service};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Makes a jar. In brackets: what stands in front of a field of state, command, event and rejection; the type of the state's
/// note.
macro_rules! jar {
    (
        $jar:ident: [$($state:tt)*] $note:ty, [$($command:tt)*], [$($event:tt)*], [$($rejection:tt)*],
        $decide:expr, $evolve:expr
    ) => {
        pub(crate) mod $jar {
            use super::*;

            #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
            pub(crate) struct Jar {
                pub(super) coins: u64,
                $($state)* pub(super) note: $note,
            }

            #[derive(Debug, Clone, Serialize, Deserialize)]
            #[serde(rename_all = "snake_case")]
            pub(crate) enum Command {
                Put { coins: u64, $($command)* note: String },
                Take { coins: u64 },
            }

            #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
            #[serde(rename_all = "snake_case")]
            pub(crate) enum Event {
                Put { coins: u64, $($event)* note: String },
                Taken { coins: u64 },
            }

            #[derive(Debug, thiserror::Error, Serialize, Deserialize)]
            #[serde(rename_all = "snake_case")]
            pub(crate) enum Rejection {
                #[error("{coins} are in it")]
                TooFew {
                    $($rejection)*
                    coins: u64,
                },
            }

            impl Aggregate for Jar {
                const TYPE: &'static str = "jar";
                type Command = Command;
                type Event = Event;
                type Rejection = Rejection;

                fn decide(&self, command: Command, _: &Context<'_>) -> Result<Vec<Event>, Rejection> {
                    let decide: fn(&Jar, Command) -> Result<Vec<Event>, Rejection> = $decide;
                    decide(self, command)
                }

                fn evolve(self, event: &Event) -> Jar {
                    let evolve: fn(Jar, &Event) -> Jar = $evolve;
                    evolve(self, event)
                }
            }

            /// Coins are put in and taken out.
            pub(super) fn story(story: Story) -> Story {
                story
                    .when(Jar::at("1"), Command::Put { coins: 5, note: "from ann".to_owned() })
                    .when(Jar::at("1"), Command::Take { coins: 2 })
                    .when(Jar::at("1"), Command::Take { coins: 9 })
            }

            pub(crate) fn service() -> Service {
                Service::new().with::<Jar>()
            }
        }
    };
}

/// As it should be.
macro_rules! decides {
    () => {
        |jar, command| match command {
            Command::Put { coins, note } => Ok(vec![Event::Put { coins, note }]),
            Command::Take { coins } if coins > jar.coins => Err(Rejection::TooFew { coins: jar.coins }),
            Command::Take { coins } => Ok(vec![Event::Taken { coins }]),
        }
    };
}

/// As it should be.
macro_rules! evolves {
    () => {
        |jar, event| match event {
            Event::Put { coins, note } => Jar { coins: jar.coins + coins, note: note.clone() },
            Event::Taken { coins } => Jar { coins: jar.coins - coins, ..jar },
        }
    };
}

/// A decision with something in it that is not from state and command.
macro_rules! decides_with {
    ($note:expr) => {
        |jar, command| match command {
            Command::Put { coins, note } => Ok(vec![Event::Put { coins, note: format!("{note}, {}", $note) }]),
            Command::Take { coins } if coins > jar.coins => Err(Rejection::TooFew { coins: jar.coins }),
            Command::Take { coins } => Ok(vec![Event::Taken { coins }]),
        }
    };
}

jar!(sound: [] String, [], [], [], decides!(), evolves!());
jar!(unwritten_in_command: [] String, [#[serde(skip)]], [], [], decides!(), evolves!());
jar!(unwritten_in_event: [] String, [], [#[serde(skip)]], [], decides!(), evolves!());
jar!(unwritten_in_rejection: [] String, [], [], [#[serde(skip)]], decides!(), evolves!());
jar!(unwritten_in_state: [#[serde(skip)]] String, [], [], [], decides!(), evolves!());
jar!(unsorted_in_state: [] HashSet<u64>, [], [], [], decides!(), |jar, event| match event {
    Event::Put { coins, .. } => Jar { coins: jar.coins + coins, note: (0..100).collect() },
    Event::Taken { coins } => Jar { coins: jar.coins - coins, ..jar },
});
jar!(no_number_in_state: [#[serde(skip)]] f64, [], [], [], decides!(), |jar, event| match event {
    Event::Put { coins, .. } => Jar { coins: jar.coins + coins, note: f64::NAN },
    Event::Taken { coins } => Jar { coins: jar.coins - coins, ..jar },
});
jar!(renamed_on_one_side: [] String, [], [#[serde(rename(serialize = "remark"))]], [], decides!(), evolves!());
jar!(clock_in_decide: [] String, [], [], [], decides_with!(nanoseconds()), evolves!());
jar!(chance_in_decide: [] String, [], [], [], decides_with!(rand::random::<u64>()), evolves!());
jar!(forgetful_evolve: [] String, [], [], [], decides!(), |jar, event| match event {
    Event::Put { coins, note } => Jar { coins: jar.coins + coins, note: note.clone() },
    Event::Taken { .. } => jar,
});
jar!(
    decide_with_a_cell: [] Cell,
    [],
    [],
    [],
    |jar, command| match command {
        Command::Put { coins, note } => Ok(vec![Event::Put { coins, note }]),
        Command::Take { .. } => {
            let asked = jar.note.0.fetch_add(1, Ordering::Relaxed);
            Err(Rejection::TooFew { coins: asked })
        }
    },
    |jar, event| match event {
        Event::Put { coins, .. } => Jar { coins: jar.coins + coins, ..jar },
        Event::Taken { .. } => jar,
    }
);

/// A decision that reads a memo which is made of events, and which a snapshot does not have.
macro_rules! decides_by {
    ($memo:expr) => {
        |jar, command| match (command, $memo(jar)) {
            (Command::Put { coins, note }, _) => Ok(vec![Event::Put { coins, note }]),
            (Command::Take { coins }, there) if coins > there => Err(Rejection::TooFew { coins: there }),
            (Command::Take { coins }, _) => Ok(vec![Event::Taken { coins }]),
        }
    };
}

jar!(clock_in_evolve: [] String, [], [], [], decides!(), |jar, event| match event {
    Event::Put { coins, note } => Jar { coins: jar.coins + coins, note: format!("{note}, {}", nanoseconds()) },
    Event::Taken { coins } => Jar { coins: jar.coins - coins, ..jar },
});
// Whoever has asked for a coin leaves one more behind.
jar!(
    memo_from_decide_to_evolve: [#[serde(skip)]] Memo,
    [],
    [],
    [],
    |jar, command| {
        jar.note.0.store(1, Ordering::Relaxed);
        let decide: fn(&Jar, Command) -> Result<Vec<Event>, Rejection> = decides!();
        decide(jar, command)
    },
    |jar, event| match event {
        Event::Put { coins, .. } => Jar { coins: jar.coins + coins + jar.note.get(), ..jar },
        Event::Taken { coins } => Jar { coins: jar.coins - coins, ..jar },
    }
);
// Whoever takes a coin gets one back for each time that some were put in.
jar!(memo_from_evolve_to_evolve: [#[serde(skip)]] Memo, [], [], [], decides!(), |jar, event| match event {
    Event::Put { coins, .. } => Jar { coins: jar.coins + coins, note: Memo::of(jar.note.get() + 1) },
    Event::Taken { coins } => Jar { coins: jar.coins - coins + jar.note.get(), ..jar },
});
// Sound for as long as its process lives, and for as long as it is folded from its first event.
jar!(
    memo_from_evolve_to_decide: [#[serde(skip)]] Memo,
    [],
    [],
    [],
    decides_by!(|jar: &Jar| jar.note.get()),
    |jar, event| match event {
        Event::Put { coins, .. } => Jar { coins: jar.coins + coins, note: Memo::of(jar.note.get() + coins) },
        Event::Taken { coins } => Jar { coins: jar.coins - coins, ..jar },
    }
);
// Sound for as long as its thread lives.
jar!(
    memo_of_the_thread: [] String,
    [],
    [],
    [],
    |jar, command| {
        if let Command::Put { coins, .. } = &command {
            IN_IT.with(|in_it| in_it.store(jar.coins + coins, Ordering::Relaxed));
        }
        let decide: fn(&Jar, Command) -> Result<Vec<Event>, Rejection> =
            decides_by!(|_: &Jar| IN_IT.with(|in_it| in_it.load(Ordering::Relaxed)));
        decide(jar, command)
    },
    evolves!()
);

thread_local! {
    static IN_IT: AtomicU64 = const { AtomicU64::new(0) };
}

/// What its author takes for a cache: `==`, `Debug` and JSON leave it out.
#[derive(Default)]
pub(crate) struct Memo(AtomicU64);

impl Memo {
    fn of(value: u64) -> Memo {
        Memo(value.into())
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Clone for Memo {
    fn clone(&self) -> Memo {
        Memo::of(self.get())
    }
}

impl PartialEq for Memo {
    fn eq(&self, _: &Memo) -> bool {
        true
    }
}

impl fmt::Debug for Memo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Memo")
    }
}

fn nanoseconds() -> u128 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos()
}

/// Looks like a value, and can be changed by whoever only borrows it.
#[derive(Debug, Default)]
pub(crate) struct Cell(AtomicU64);

impl Clone for Cell {
    fn clone(&self) -> Cell {
        Cell(self.0.load(Ordering::Relaxed).into())
    }
}

impl PartialEq for Cell {
    fn eq(&self, other: &Cell) -> bool {
        self.0.load(Ordering::Relaxed) == other.0.load(Ordering::Relaxed)
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Cell {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Cell, D::Error> {
        AtomicU64::deserialize(deserializer).map(Cell)
    }
}

/// What a story says when it fails.
pub(crate) fn failure(story: impl FnOnce() -> Story) -> String {
    let failure = catch_unwind(AssertUnwindSafe(|| story().to_string())).expect_err("the fault was not found");
    failure.downcast_ref::<String>().expect("a formatted message").clone()
}

#[test]
fn a_sound_jar_has_its_story_everywhere() {
    crate::assert_shown("story__sound_jar", &everywhere(sound::service(), sound::story).to_string());
}

#[test]
fn each_fault_is_found_and_named() {
    macro_rules! faults {
        ($($jar:ident: $named:expr,)*) => {
            [$((stringify!($jar), failure(|| $jar::story(Story::of($jar::service()))), $named)),*]
        };
    }
    let faults = faults![
        unwritten_in_command: "the command does not survive its JSON",
        unwritten_in_event: "the event does not survive its JSON",
        unwritten_in_rejection: "the rejection does not survive its JSON",
        unwritten_in_state: "the state does not survive its JSON",
        unsorted_in_state: "the state is not always written alike",
        no_number_in_state: "the state of jar is not equal to itself",
        renamed_on_one_side: "the event Put { coins: 5, note: \"from ann\" } cannot be read back",
        clock_in_decide: "`decide` of jar says something else about the same command and state the second time",
        chance_in_decide: "`decide` of jar says something else about the same command and state the second time",
        forgetful_evolve: "`evolve` of jar forgets the event \"taken\": the state is as it was",
        decide_with_a_cell: "`decide` has changed the state of jar",
        clock_in_evolve: "a snapshot of jar at version 0 and the events behind it make another state",
        memo_from_evolve_to_evolve: "a snapshot of jar at version 1 and the events behind it make another state",
        memo_from_decide_to_evolve: "the live state of jar/1 is not what its stored events make",
    ];
    for (jar, failure, named) in faults {
        let (_word, failure) = failure.split_once(": ").unwrap();
        assert!(failure.starts_with(named), "{jar}: {failure}");
    }
}

/// An event that only informs looks as if `evolve` had forgotten it, until the story names it. Another name does not help.
#[test]
fn an_event_that_only_informs_has_to_be_named() {
    use forgetful_evolve::{Event, Jar, service, story};
    let given = |story: Story| story.given(Jar::at("1"), [Event::Taken { coins: 2 }]);
    let forgotten = "`evolve` of jar forgets the event \"taken\": the state is as it was";
    let remedy = "if the event only informs, say `.informs(\"…\")` at the head of the story.";
    for tell in [story, given] {
        for at_the_head in [|story| story, |story: Story| story.informs("put")] {
            let told = failure(|| tell(at_the_head(Story::of(service()))));
            assert!(told.contains(forgotten) && told.contains(remedy), "{told}");
        }
        offline(service(), |story| tell(story.informs("put").informs("taken")));
    }
}

/// The one that the README shows.
#[test]
fn a_failure_says_what_where_and_how_to_mend_it() {
    let told = failure(|| unwritten_in_event::story(Story::of(unwritten_in_event::service())));
    crate::assert_shown("story__failure", &told);
    crate::assert_in_readme(&told);
}

/// It comes with the snapshot that is made of version 100, so with a crash behind the second step, and with none before.
#[test]
fn a_fault_that_a_recovery_from_a_snapshot_brings_out_is_found_on_files() {
    use memo_from_evolve_to_decide::{Command, Event, Jar, service, story};
    offline(service(), story);
    let hundred = |story: Story| {
        let put = |_| Event::Put { coins: 1, note: String::new() };
        story
            .given(Jar::at("1"), (0..99).map(put))
            .when(Jar::at("1"), Command::Put { coins: 1, note: String::new() })
            .when(Jar::at("1"), Command::Take { coins: 2 })
    };
    let told = failure(|| offline(service(), hundred));
    let named = "in Files { crash_after: Some(2) }, c2: `decide` of jar says something else about the same command";
    assert!(told.starts_with(named), "{told}");
    assert!(told.contains("first   rejected too_few {\"coins\":0}"), "{told}");
}

/// It comes with the threads of another processor, and elsewhere a story has but its own.
#[test]
fn a_fault_that_another_process_brings_out_is_found_on_a_nats_server() {
    use memo_of_the_thread::{Command, Jar, service, story};
    offline(service(), story);
    let crashes = |story: Story| {
        story
            .when(Jar::at("1"), Command::Put { coins: 5, note: "from ann".to_owned() })
            .crash()
            .when(Jar::at("1"), Command::Take { coins: 2 })
    };
    let told = failure(|| everywhere(service(), crashes));
    let named = "in Nats, c2: `decide` of jar says something else about the same command";
    assert!(told.starts_with(named), "{told}");
}

/// Nothing of it hangs on the place.
#[test]
fn a_fault_is_found_in_each_place() {
    for place in [Place::Memory, Place::Files { crash_after: Some(1) }, Place::Nats] {
        let told = failure(|| chance_in_decide::story(Story::at(place, chance_in_decide::service())));
        assert!(told.contains("says something else"), "{place:?}: {told}");
        assert!(told.contains("c1 alice jar/1 put"), "{place:?}: {told}");
        let elsewhere = if place == Place::Memory { String::new() } else { format!("in {place:?}, ") };
        assert!(told.starts_with(&format!("{elsewhere}c1: ")), "{place:?}: {told}");
    }
}

/// A story that is another one elsewhere: here since its author counts how often it was told.
#[test]
fn another_text_in_another_place_is_found() {
    let places = [(2, "Files { crash_after: Some(1) }"), (4, "Files { crash_after: Some(3) }"), (6, "Nats")];
    for (differs_in, place) in places {
        let told = AtomicU64::new(0);
        let changing = |story: Story| {
            let coins = u64::from(told.fetch_add(1, Ordering::Relaxed) + 1 == differs_in);
            sound::story(story).when(sound::Jar::at("1"), sound::Command::Put { coins, note: String::new() })
        };
        let said = failure(|| everywhere(sound::service(), changing));
        assert!(said.starts_with(&format!("in {place} the story is another one, from line ")), "{said}");
    }
}

/// It is never skipped.
#[test]
fn a_story_without_its_nats_server_fails_and_says_so() {
    let told = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "planted::a_sound_jar_has_its_story_everywhere", "--nocapture"])
        .env("NATS_SERVER", "/nonexistent/nats-server")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&told.stderr);
    assert!(
        !told.status.success() && said.contains("NATS_SERVER=/nonexistent/nats-server is not a nats-server"),
        "{said}"
    );
}

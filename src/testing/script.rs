//! Stories that nobody has written: drawn by proptest from the commands of an author, and printed as code when they fail.

use std::fmt::{self, Debug};
use std::time::Duration;

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::{Just, Strategy, any};
use proptest::prop_oneof;
use proptest::sample::Index;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::home::id;
use super::story::{Item, SOMEBODY, Story, check, command};
use super::telling::start;
use crate::aggregate::{Aggregate, Context};
use crate::model::Principal;
use crate::model::error::caught;

/// Words in a drawn story, before guards are put in front of them.
const WORDS_MAX: usize = 24;

/// How often something has happened before a story, and how many commands made it.
const GIVEN: f64 = 0.5;
const GIVEN_MAX: usize = 8;

/// Items in a drawn batch.
const ITEMS_MAX: usize = 4;

/// How often a command has a guard, or is sent by somebody else.
const GUARDED: f64 = 0.15;

/// A guard of the version is drawn up to it. The longer a story is, the more of them are wrong.
const VERSION_MAX: u64 = 4;

/// A guard of the time, in seconds.
const NOT_AFTER_MAX: u64 = 60;

/// Whoever is not the one of whom nothing else is said.
const SOMEBODY_ELSE: &str = "bob";

/// A story that can be told. Its `Debug` is the Rust code of it, to be pasted into a test: proptest prints that of the
/// shortest story that fails. The code needs [`Story`], [`json`], [`command()`] and [`check`] in scope, the aggregate, and a
/// function `service`.
#[derive(Clone)]
pub struct Script<A: Aggregate> {
    given: Vec<Given<A>>,
    words: Vec<Word<A::Command>>,
}

/// What has happened to one aggregate before.
#[derive(Clone)]
struct Given<A: Aggregate> {
    key: String,
    events: Vec<A::Event>,
}

#[derive(Clone)]
enum Word<C> {
    By(&'static str),
    Expecting(u64),
    NotAfter(Duration),
    When { key: String, command: C },
    Batch(Vec<Part<C>>),
    Again { name: String },
    Reuse { name: String, key: String, command: C },
    Void { key: String, name: String },
    After(Duration),
    Crash,
}

/// An item of a batch.
#[derive(Debug, Clone)]
enum Part<C> {
    Command { key: String, command: C, expecting: Option<u64> },
    Check { key: String, version: u64 },
}

/// A word, before it is known what was sent until then.
#[derive(Debug, Clone)]
enum Draw<C> {
    When(Guards, Option<u64>, String, C),
    Batch(Guards, Vec<Part<C>>),
    /// Given up, and then it arrives.
    TooLate(bool, String, C),
    Again(Index),
    Reuse(Index, C),
    /// By its sender, or by somebody else, whose own id that is.
    Void(Index, bool),
    After(u64),
    Crash,
}

/// What stands in front of a command or a batch.
#[derive(Debug, Clone)]
struct Guards {
    by_another: bool,
    /// In seconds, and whether it waits for longer than that.
    not_after: Option<(u64, bool)>,
}

/// Draws stories of an aggregate: most words are new commands, alone or in batches, by one of two senders, some of them with
/// a guard of version or time; the others send one again, reuse an id, give one up, let
/// time pass, or kill the processor. `commands` draws a key and a command for it. Half of the stories begin with what was
/// given: events that the aggregate itself has decided for drawn commands, so that they are such as could have happened.
///
/// ```
/// use hapax::samples::{Account, AccountCommand::{self, *}};
/// use hapax::testing::{Story, stories};
/// use hapax::{Aggregate, samples};
/// use proptest::prelude::*;
///
/// fn commands() -> impl Strategy<Value = (String, AccountCommand)> {
///     let amount = 1..1000_i64;
///     let command = prop_oneof![
///         Just(Open { owner: "ann".to_owned() }),
///         amount.clone().prop_map(|amount| Deposit { amount }),
///         amount.prop_map(|amount| Withdraw { amount }),
///     ];
///     (prop_oneof![Just("1".to_owned()), Just("2".to_owned())], command)
/// }
///
/// proptest! {
///     # #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]
///     # /*
///     #[test]
///     # */
///     fn a_balance_is_never_negative(script in stories::<Account>(commands())) {
///         let mut story = script.tell(Story::of(samples::service()));
///         prop_assert!(story.state(&Account::at("1")).balance >= 0);
///     }
/// }
/// # a_balance_is_never_negative();
/// ```
pub fn stories<A: Aggregate>(
    commands: impl Strategy<Value = (String, A::Command)> + 'static,
) -> impl Strategy<Value = Script<A>> {
    let commands = commands.boxed();
    let given = weighted(GIVEN, vec(commands.clone(), 1..=GIVEN_MAX));
    let item = prop_oneof![
        3 => (commands.clone(), version()).prop_map(|((key, command), expecting)| Part::Command { key, command, expecting }),
        1 => (commands.clone(), 0..=VERSION_MAX).prop_map(|((key, _), version)| Part::Check { key, version }),
    ];
    let draw = prop_oneof![
        12 => (guards(), version(), commands.clone())
            .prop_map(|(guards, expecting, (key, command))| Draw::When(guards, expecting, key, command)),
        3 => (guards(), vec(item, 1..=ITEMS_MAX)).prop_map(|(guards, items)| Draw::Batch(guards, items)),
        1 => (any::<bool>(), commands.clone())
            .prop_map(|(by_another, (key, command))| Draw::TooLate(by_another, key, command)),
        3 => any::<Index>().prop_map(Draw::Again),
        1 => (any::<Index>(), commands).prop_map(|(index, (_, command))| Draw::Reuse(index, command)),
        1 => (any::<Index>(), any::<bool>()).prop_map(|(index, by_another)| Draw::Void(index, by_another)),
        1 => (1..=3600_u64).prop_map(Draw::After),
        1 => Just(Draw::Crash),
    ];
    (given, vec(draw, 1..=WORDS_MAX))
        .prop_map(|(given, drawn)| Script { given: decided(given.unwrap_or_default()), words: words(drawn) })
}

/// What these commands would have made of each aggregate that they are for, one after the other. What is rejected, or
/// panics, has made nothing.
fn decided<A: Aggregate>(commands: Vec<(String, A::Command)>) -> Vec<Given<A>> {
    let mut all: Vec<(Given<A>, A)> = Vec::new();
    let principal = Principal::parse(SOMEBODY).expect("it is a token");
    for (number, (key, command)) in (1..).zip(commands) {
        let context = Context { time: start(), principal: &principal, id: &id("given", number) };
        let place = all.iter().position(|(given, _)| given.key == key).unwrap_or_else(|| {
            all.push((Given { key, events: Vec::new() }, A::default()));
            all.len() - 1
        });
        let (given, state) = &mut all[place];
        let decided = caught(|| {
            let events = state.decide(command, &context).ok()?;
            let next = events.iter().fold(state.clone(), A::evolve);
            Some((events, next))
        });
        if let Ok(Some((events, next))) = decided {
            given.events.extend(events);
            *state = next;
        }
    }
    all.into_iter().map(|(given, _)| given).filter(|given| !given.events.is_empty()).collect()
}

fn version() -> impl Strategy<Value = Option<u64>> + Clone {
    weighted(GUARDED, 0..=VERSION_MAX)
}

fn guards() -> impl Strategy<Value = Guards> {
    let not_after = weighted(GUARDED, (1..=NOT_AFTER_MAX, any::<bool>()));
    (weighted(GUARDED, Just(())), not_after)
        .prop_map(|(another, not_after)| Guards { by_another: another.is_some(), not_after })
}

/// What was sent until then.
#[derive(Default)]
struct Sent {
    /// The keys of `c1`, `c2` …, and whether somebody else has sent it.
    commands: Vec<(String, bool)>,
    batches: usize,
}

impl Sent {
    fn name_of_next(&self) -> String {
        format!("c{}", self.commands.len() + 1)
    }

    /// The name of a command, its key, and whether somebody else has sent it.
    fn command(&self, index: Index) -> Option<(String, String, bool)> {
        let place = (!self.commands.is_empty()).then(|| index.index(self.commands.len()))?;
        let (key, by_another) = self.commands[place].clone();
        Some((format!("c{}", place + 1), key, by_another))
    }

    /// The name of a command or a batch.
    fn anything(&self, index: Index) -> Option<String> {
        let commands = self.commands.len();
        let place = (commands > 0).then(|| index.index(commands + self.batches))?;
        Some(if place < commands { format!("c{}", place + 1) } else { format!("b{}", place - commands + 1) })
    }
}

/// Gives names to what is sent, and leaves out what is about nothing.
fn words<C>(drawn: Vec<Draw<C>>) -> Vec<Word<C>> {
    let (mut words, mut sent) = (Vec::new(), Sent::default());
    let by = |by_another: bool| by_another.then_some(Word::By(SOMEBODY_ELSE));
    for draw in drawn {
        match draw {
            Draw::When(guards, expecting, key, command) => {
                sent.commands.push((key.clone(), guards.by_another));
                words.extend(guards.words());
                words.extend(expecting.map(Word::Expecting));
                words.push(Word::When { key, command });
            }
            Draw::Batch(guards, items) => {
                let before = sent.commands.len();
                sent.commands.extend(items.iter().filter_map(|item| match item {
                    Part::Command { key, .. } => Some((key.clone(), guards.by_another)),
                    Part::Check { .. } => None,
                }));
                if before < sent.commands.len() {
                    sent.batches += 1;
                    words.extend(guards.words());
                    words.push(Word::Batch(items));
                }
            }
            Draw::TooLate(by_another, key, command) => {
                words.extend(by(by_another));
                words.push(Word::Void { key: key.clone(), name: sent.name_of_next() });
                sent.commands.push((key.clone(), by_another));
                words.extend(by(by_another));
                words.push(Word::When { key, command });
            }
            Draw::Again(index) => words.extend(sent.anything(index).map(|name| Word::Again { name })),
            Draw::Reuse(index, command) => {
                words.extend(sent.command(index).map(|(name, key, _)| Word::Reuse { name, key, command }));
            }
            Draw::Void(index, by_the_other) => {
                if let Some((name, key, by_another)) = sent.command(index) {
                    words.extend(by(by_another != by_the_other));
                    words.push(Word::Void { key, name });
                }
            }
            Draw::After(seconds) => words.push(Word::After(Duration::from_secs(seconds))),
            Draw::Crash => words.push(Word::Crash),
        }
    }
    words
}

impl Guards {
    fn words<C>(&self) -> Vec<Word<C>> {
        let mut words = Vec::new();
        words.extend(self.by_another.then_some(Word::By(SOMEBODY_ELSE)));
        if let Some((seconds, waits)) = self.not_after {
            words.push(Word::NotAfter(Duration::from_secs(seconds)));
            words.extend(waits.then_some(Word::After(Duration::from_secs(2 * seconds))));
        }
        words
    }
}

impl<A: Aggregate> Script<A> {
    /// Says every word of it.
    ///
    /// # Panics
    /// If a check fails.
    #[track_caller]
    pub fn tell(&self, story: Story) -> Story {
        let mut story = story;
        for Given { key, events } in &self.given {
            story = story.given(A::at(key), events.clone());
        }
        for word in &self.words {
            story = match word.clone() {
                Word::By(principal) => story.by(principal),
                Word::Expecting(version) => story.expecting(version),
                Word::NotAfter(duration) => story.not_after(duration),
                Word::When { key, command } => story.when(A::at(key), command),
                Word::Batch(items) => story.batch(items.into_iter().map(item::<A>)),
                Word::Again { name } => story.again(&name),
                Word::Reuse { name, key, command } => story.reuse(&name, A::at(key), command),
                Word::Void { key, name } => story.void(A::at(key), &name),
                Word::After(duration) => story.after(duration),
                Word::Crash => story.crash(),
            };
        }
        story
    }
}

fn item<A: Aggregate>(part: Part<A::Command>) -> Item {
    match part {
        Part::Command { key, command: asked, expecting } => {
            let item = command(A::at(key), asked);
            match expecting {
                Some(version) => item.expecting(version),
                None => item,
            }
        }
        Part::Check { key, version } => check(A::at(key), version),
    }
}

impl<A: Aggregate> Debug for Script<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |key: &str| {
            let aggregate = std::any::type_name::<A>().rsplit("::").next().unwrap_or_default();
            format!("{aggregate}::at({key:?})")
        };
        let duration = |duration: &Duration| format!("std::time::Duration::from_secs({})", duration.as_secs());
        f.write_str("Story::of(service())")?;
        for Given { key, events } in &self.given {
            let events: Vec<String> = events.iter().map(in_json).collect();
            write!(f, "\n    .given({}, [{}])", at(key), events.join(", "))?;
        }
        for word in &self.words {
            f.write_str("\n    ")?;
            match word {
                Word::By(principal) => write!(f, ".by({principal:?})"),
                Word::Expecting(version) => write!(f, ".expecting({version})"),
                Word::NotAfter(time) => write!(f, ".not_after({})", duration(time)),
                Word::When { key, command } => write!(f, ".when({}, {})", at(key), in_json(command)),
                Word::Batch(items) => {
                    f.write_str(".batch([")?;
                    for item in items {
                        match item {
                            Part::Command { key, command, expecting } => {
                                let expecting = expecting.map(|version| format!(".expecting({version})"));
                                let expecting = expecting.unwrap_or_default();
                                write!(f, "\n        command({}, {}){expecting},", at(key), in_json(command))
                            }
                            Part::Check { key, version } => write!(f, "\n        check({}, {version}),", at(key)),
                        }?;
                    }
                    f.write_str("\n    ])")
                }
                Word::Again { name } => write!(f, ".again({name:?})"),
                Word::Reuse { name, key, command } => write!(f, ".reuse({name:?}, {}, {})", at(key), in_json(command)),
                Word::Void { key, name } => write!(f, ".void({}, {name:?})", at(key)),
                Word::After(time) => write!(f, ".after({})", duration(time)),
                Word::Crash => f.write_str(".crash()"),
            }?;
        }
        Ok(())
    }
}

/// A value as a printed story has it: as what [`json`] reads.
fn in_json<T: Debug + Serialize>(value: &T) -> String {
    match serde_json::to_string(value) {
        Ok(json) => format!("json({})", literal(&json)),
        Err(error) => format!("/* {value:?} does not become JSON: {error} */"),
    }
}

/// A raw string that holds this text.
fn literal(text: &str) -> String {
    let mut hashes = "#".to_owned();
    while text.contains(&format!("\"{hashes}")) {
        hashes.push('#');
    }
    format!("r{hashes}\"{text}\"{hashes}")
}

/// A command, an event, or any other value, from its JSON: as a printed story has it.
///
/// # Panics
/// If it is not the JSON of one.
#[track_caller]
pub fn json<T: DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::literal;

    #[test]
    fn a_text_that_ends_a_raw_string_is_in_a_longer_one() {
        assert_eq!(literal("plain"), r##"r#"plain"#"##);
        assert_eq!(literal("a\"#b"), r###"r##"a"#b"##"###);
        assert_eq!(literal("a\"#b\"##"), r####"r###"a"#b"##"###"####);
    }
}

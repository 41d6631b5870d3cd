//! Stories that nobody has written: drawn by proptest from the commands of an author, and printed as code when they fail.

use std::fmt::{self, Debug};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any};
use proptest::prop_oneof;
use proptest::sample::Index;
use serde::de::DeserializeOwned;

use super::story::Story;
use crate::aggregate::Aggregate;

/// Words in a drawn story.
const WORDS_MAX: usize = 24;

/// A story that can be told. Its `Debug` is the Rust code of it, to be pasted into a test: proptest prints that of the
/// shortest story that fails. The code needs `Story` and [`json`] in scope, the aggregate, and a function `service`.
#[derive(Clone)]
pub struct Script<A: Aggregate>(Vec<Word<A>>);

#[derive(Clone)]
enum Word<A: Aggregate> {
    When { key: String, command: A::Command },
    Again { name: String },
    Reuse { name: String, key: String, command: A::Command },
    Void { key: String, name: String },
    After(Duration),
    Crash,
}

/// A word, before it is known what was sent until then.
#[derive(Debug, Clone)]
enum Draw<C> {
    When(String, C),
    /// Given up, and then it arrives.
    TooLate(String, C),
    Again(Index),
    Reuse(Index, C),
    Void(Index),
    After(u64),
    Crash,
}

/// Draws stories of an aggregate: most words are new commands, the others send one again, reuse an id, give one up, let
/// time pass, or kill the processor. `commands` draws a key and a command for it.
///
/// ```
/// use hapax::samples::{Account, AccountCommand::{self, *}};
/// use hapax::testing::{Story, stories};
/// use hapax::{Aggregate, Service};
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
///         let mut story = script.tell(Story::of(Service::new().with::<Account>()));
///         prop_assert!(story.state(&Account::at("1")).balance >= 0);
///     }
/// }
/// # a_balance_is_never_negative();
/// ```
pub fn stories<A: Aggregate>(
    commands: impl Strategy<Value = (String, A::Command)> + 'static,
) -> impl Strategy<Value = Script<A>> {
    let commands = commands.boxed();
    let draw = prop_oneof![
        12 => commands.clone().prop_map(|(key, command)| Draw::When(key, command)),
        1 => commands.clone().prop_map(|(key, command)| Draw::TooLate(key, command)),
        3 => any::<Index>().prop_map(Draw::Again),
        1 => (any::<Index>(), commands).prop_map(|(index, (_, command))| Draw::Reuse(index, command)),
        1 => any::<Index>().prop_map(Draw::Void),
        1 => (1..=3600_u64).prop_map(Draw::After),
        1 => Just(Draw::Crash),
    ];
    vec(draw, 1..=WORDS_MAX).prop_map(|drawn| Script(words(drawn)))
}

/// Gives names to what is sent, and leaves out what is about nothing.
fn words<A: Aggregate>(drawn: Vec<Draw<A::Command>>) -> Vec<Word<A>> {
    let mut words = Vec::new();
    let mut sent: Vec<String> = Vec::new(); // The keys of c1, c2 …
    let earlier = |index: Index, sent: &[String]| {
        let place = (!sent.is_empty()).then(|| index.index(sent.len()))?;
        Some((format!("c{}", place + 1), sent[place].clone()))
    };
    for draw in drawn {
        let word = match draw {
            Draw::When(key, command) => {
                sent.push(key.clone());
                Some(Word::When { key, command })
            }
            Draw::TooLate(key, command) => {
                sent.push(key.clone());
                words.push(Word::Void { key: key.clone(), name: format!("c{}", sent.len()) });
                Some(Word::When { key, command })
            }
            Draw::Again(index) => earlier(index, &sent).map(|(name, _)| Word::Again { name }),
            Draw::Reuse(index, command) => earlier(index, &sent).map(|(name, key)| Word::Reuse { name, key, command }),
            Draw::Void(index) => earlier(index, &sent).map(|(name, key)| Word::Void { key, name }),
            Draw::After(seconds) => Some(Word::After(Duration::from_secs(seconds))),
            Draw::Crash => Some(Word::Crash),
        };
        words.extend(word);
    }
    words
}

impl<A: Aggregate> Script<A> {
    /// Says every word of it.
    ///
    /// # Panics
    /// If a check fails.
    #[track_caller]
    pub fn tell(&self, story: Story) -> Story {
        let mut story = story;
        for word in &self.0 {
            story = match word.clone() {
                Word::When { key, command } => story.when(A::at(key), command),
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

impl<A: Aggregate> Debug for Script<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let aggregate = std::any::type_name::<A>().rsplit("::").next().unwrap_or_default();
        let json = |command: &A::Command| match serde_json::to_string(command) {
            Ok(json) => format!("json({})", literal(&json)),
            Err(error) => format!("/* {command:?} does not become JSON: {error} */"),
        };
        f.write_str("Story::of(service())")?;
        for word in &self.0 {
            f.write_str("\n    ")?;
            match word {
                Word::When { key, command } => write!(f, ".when({aggregate}::at({key:?}), {})", json(command)),
                Word::Again { name } => write!(f, ".again({name:?})"),
                Word::Reuse { name, key, command } => {
                    write!(f, ".reuse({name:?}, {aggregate}::at({key:?}), {})", json(command))
                }
                Word::Void { key, name } => write!(f, ".void({aggregate}::at({key:?}), {name:?})"),
                Word::After(duration) => write!(f, ".after(std::time::Duration::from_secs({}))", duration.as_secs()),
                Word::Crash => f.write_str(".crash()"),
            }?;
        }
        Ok(())
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

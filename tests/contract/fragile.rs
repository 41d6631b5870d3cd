//! The test aggregate of the vectors: it panics when it is asked to, has nothing to do, or too much.

use hapax::{Aggregate, Context, Service, samples};
use serde::{Deserialize, Serialize};

/// What the vectors are sent to. `BROKEN`: the release in which `evolve` of `fragile` always panics.
pub(crate) fn service<const BROKEN: bool>() -> Service {
    samples::service().with::<Fragile<BROKEN>>()
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fragile<const BROKEN: bool> {
    touched: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Command {
    Touch,
    Rest,
    PanicInDecide,
    PanicInEvolve,
    Grow { bytes: usize },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Event {
    Touched,
    Poisoned,
    Grown { with: String },
}

#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Rejection {
    #[error("it never says no")]
    Never,
}

impl<const BROKEN: bool> Aggregate for Fragile<BROKEN> {
    const TYPE: &'static str = "fragile";
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    fn decide(&self, command: Command, _: &Context<'_>) -> Result<Vec<Event>, Rejection> {
        match command {
            Command::Touch => Ok(vec![Event::Touched]),
            Command::Rest => Ok(Vec::new()),
            Command::PanicInDecide => panic!("asked to panic in decide"),
            Command::PanicInEvolve => Ok(vec![Event::Touched, Event::Poisoned]),
            Command::Grow { bytes } => Ok(vec![Event::Grown { with: "x".repeat(bytes) }]),
        }
    }

    fn evolve(mut self, event: &Event) -> Fragile<BROKEN> {
        assert!(!BROKEN, "a release with a bug");
        match event {
            Event::Touched => self.touched += 1,
            Event::Poisoned => panic!("asked to panic in evolve"),
            Event::Grown { .. } => {}
        }
        self
    }
}

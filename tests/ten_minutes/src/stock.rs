use hapax::{Aggregate, Context, Service};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stock { on_hand: u64 }

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Command { Receive { pieces: u64 }, Pick { pieces: u64 } }

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event { Received { pieces: u64 }, Picked { pieces: u64 } }

#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rejection {
    #[error("{on_hand} are on hand")]
    OutOfStock { on_hand: u64 },
    #[error("that is more than can be counted")]
    TooMany {},
}

impl Aggregate for Stock {
    const TYPE: &'static str = "stock"; // cmd.<principal>.stock.<key>.pick
    type Command = Command;
    type Event = Event;
    type Rejection = Rejection;

    // Says what would happen, and changes nothing. No clock, no randomness: what it may know is in the context.
    fn decide(&self, command: Command, _: &Context<'_>) -> Result<Vec<Event>, Rejection> {
        match command {
            Command::Receive { pieces } if self.on_hand.checked_add(pieces).is_none() => Err(Rejection::TooMany {}),
            Command::Receive { pieces } => Ok(vec![Event::Received { pieces }]),
            Command::Pick { pieces } if pieces > self.on_hand => {
                Err(Rejection::OutOfStock { on_hand: self.on_hand })
            }
            Command::Pick { pieces } => Ok(vec![Event::Picked { pieces }]),
        }
    }

    // Lets it have happened. It cannot fail: an event is a fact.
    fn evolve(self, event: &Event) -> Stock {
        match event {
            Event::Received { pieces } => Stock { on_hand: self.on_hand + pieces },
            Event::Picked { pieces } => Stock { on_hand: self.on_hand - pieces },
        }
    }
}

/// What `main` serves, and what the stories run on.
pub fn service() -> Service {
    Service::new().with::<Stock>()
}

#[cfg(test)]
mod tests {
    use hapax::testing::Story;

    use super::*;

    #[test]
    fn nothing_is_picked_that_is_not_there() {
        let story = Story::of(service())
            .given(Stock::at("pens"), [Event::Received { pieces: 10 }])
            .when(Stock::at("pens"), Command::Pick { pieces: 12 })
            .rejected("out_of_stock")
            .when(Stock::at("pens"), Command::Pick { pieces: 4 })
            .again("c2");
        insta::assert_snapshot!(story, @r#"
        given stock/pens v1 {"on_hand":10}

        c1 alice stock/pens pick {"pieces":12}
           rejected out_of_stock: 10 are on hand

        c2 alice stock/pens pick {"pieces":4}
           + v2 picked {"pieces":4}
             on_hand 10 -> 6

        c2 again
           replayed: the first outcome, nothing happens
        "#);
    }
}

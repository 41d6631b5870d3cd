//! Bugs of the feed that the simulation must find (I18): in what is sent, on which condition, and from where it goes on.

use hapax::Position;
use hapax::model::ChainHash;
use hapax::nats::feed::{Answer, Estranged, Feeder, Next, Stand};

use crate::common::feed_world::Feeds;
use crate::common::pure::Build;

/// Where in a wrong feeder the right one is.
macro_rules! right {
    ($field:tt) => {
        fn right(&self) -> &Feeder {
            &self.$field
        }

        fn right_mut(&mut self) -> &mut Feeder {
            &mut self.$field
        }
    };
}

/// All of them, by name. A start does not compare store and feed, but for the one that shows what it finds: otherwise it would
/// mostly be the first to notice, and whatever it passed over would go unseen.
pub(crate) fn wrong_feeds() -> Vec<(&'static str, Build)> {
    let right = Build::default();
    let wrong = Build { compares_feed: false, ..right };
    vec![
        ("feeds what is not durable", Build { feeds_written: true, ..right }),
        (
            "feeds what is not durable, and believes any stream",
            Build { feeds_written: true, feeder: |right| Box::new(Believes(right)), ..wrong },
        ),
        ("feeds on from its own memory", Build { feeder: |right| Box::new(Remembers(right, None)), ..wrong }),
        ("feeds on behind what it has sent", Build { feeder: |right| Box::new(Hopes(right, None)), ..wrong }),
        ("feeds on one too far", Build { feeder: |right| Box::new(OneTooFar(right)), ..wrong }),
        ("feeds on no condition", Build { feeder: |right| Box::new(Unconditional(right)), ..wrong }),
        ("feeds twice what was not acknowledged", Build { feeder: |right| Box::new(SendsAgain(right)), ..wrong }),
        (
            "leaves what was not acknowledged for later",
            Build { feeder: |right| Box::new(Postpones { right, sent: None, left: None }), ..wrong },
        ),
        ("does not feed on after a fault", Build { feeder: |right| Box::new(GivesUp(right, false)), ..wrong }),
        ("tears atomic batches", Build { feeder: |right| Box::new(Tears(right)), ..wrong }),
    ]
}

/// Lets a feeder go on behind a position, wherever the stream stands.
fn go_on_behind(feeder: &mut Feeder, last: Option<Position>) {
    let hash = Some(ChainHash([0; 32]));
    feeder.stands(&Stand { last, hash, missing: 0 }, last, hash).expect("it agrees with itself");
}

/// An acknowledgement of what is on its way, whatever number it names.
fn any(sent: Option<Position>) -> Answer {
    Answer::Stored { sequence: sent.map_or(0, Position::get), duplicate: false }
}

/// What stands in the stream is ours.
struct Believes(Feeder);

impl Feeds for Believes {
    right!(0);

    fn stands(&mut self, stand: &Stand, _: Option<Position>, _: Option<ChainHash>) -> Result<(), Estranged> {
        go_on_behind(&mut self.0, stand.last);
        Ok(())
    }
}

/// It has written down what was acknowledged last, and need not ask.
struct Remembers(Feeder, Option<Position>);

impl Feeds for Remembers {
    right!(0);

    fn answered(&mut self, answer: Answer) {
        self.0.answered(answer);
        self.1 = self.0.fed();
    }

    fn stands(&mut self, _: &Stand, _: Option<Position>, _: Option<ChainHash>) -> Result<(), Estranged> {
        go_on_behind(&mut self.0, self.1);
        Ok(())
    }
}

/// What is sent will arrive.
struct Hopes(Feeder, Option<Position>);

impl Feeds for Hopes {
    right!(0);

    fn published(&mut self, upto: Position) {
        self.1 = Some(upto);
        self.0.published(upto);
    }

    fn answered(&mut self, _: Answer) {
        self.0.answered(any(self.1));
    }
}

/// Behind the last one is the one behind the next; and so says the condition.
struct OneTooFar(Feeder);

impl Feeds for OneTooFar {
    right!(0);

    fn stands(&mut self, stand: &Stand, _: Option<Position>, _: Option<ChainHash>) -> Result<(), Estranged> {
        go_on_behind(&mut self.0, Some(Position::after(stand.last)));
        Ok(())
    }

    fn condition(&self, _: Position) -> Option<u64> {
        None
    }
}

/// No sheaf says what must be before it, so one that comes late comes twice.
struct Unconditional(Feeder);

impl Feeds for Unconditional {
    right!(0);

    fn condition(&self, _: Position) -> Option<u64> {
        None
    }
}

/// What was not acknowledged is sent again, whether it has arrived or not.
struct SendsAgain(Feeder);

impl Feeds for SendsAgain {
    right!(0);

    fn answered(&mut self, answer: Answer) {
        self.0.answered(answer);
        if answer == Answer::Unknown {
            let before = self.0.fed();
            go_on_behind(&mut self.0, before);
        }
    }

    fn condition(&self, _: Position) -> Option<u64> {
        None
    }
}

/// What was not acknowledged is sent again behind what is sent next.
struct Postpones {
    right: Feeder,
    sent: Option<Position>,
    /// Behind which position, if anything is left.
    left: Option<Option<Position>>,
}

impl Feeds for Postpones {
    right!(right);

    fn published(&mut self, upto: Position) {
        self.sent = Some(upto);
        self.right.published(upto);
    }

    fn answered(&mut self, answer: Answer) {
        let before = self.right.fed();
        self.right.answered(any(self.sent));
        match (answer, self.left.take()) {
            (Answer::Unknown, None) => self.left = Some(before),
            (_, Some(left)) => go_on_behind(&mut self.right, left),
            _ => {}
        }
    }

    fn condition(&self, _: Position) -> Option<u64> {
        None
    }
}

/// Once something has gone wrong, nothing more is sent.
struct GivesUp(Feeder, bool);

impl Feeds for GivesUp {
    right!(0);

    fn next(&self, durable: Option<Position>) -> Next {
        if self.1 { Next::Wait } else { self.0.next(durable) }
    }

    fn answered(&mut self, answer: Answer) {
        self.1 |= answer == Answer::Unknown;
        self.0.answered(answer);
    }

    fn died(&mut self) {
        *self = GivesUp(Feeder::new(), false);
    }
}

/// A sheaf is full when it is full.
struct Tears(Feeder);

impl Feeds for Tears {
    right!(0);

    fn divides_batches(&self) -> bool {
        true
    }
}

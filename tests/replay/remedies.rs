//! Whoever reads an error is told what to do.

use std::error::Error;
use std::fmt::Write as _;

use hapax::model::groups::GroupError;
use hapax::nats::feed::FeedError;
use hapax::nats::feed::reader::What;
use hapax::replay::export::ImportError;
use hapax::replay::past::PastError;
use hapax::serve::restore::RestoreError;
use hapax::{AggregateId, Position};

use crate::common::shown::assert_shown;

fn position(number: u64) -> Position {
    Position::new(number).unwrap()
}

fn json_error() -> serde_json::Error {
    serde_json::from_str::<bool>("no").unwrap_err()
}

#[test]
fn errors_say_what_to_do() {
    let aggregate: AggregateId = "account/42".parse().unwrap();
    let open = GroupError::Open { head: position(7), missing: 2 };
    let errors: [Box<dyn Error>; 17] = [
        Box::new(ImportError::Read(std::io::Error::other("the disk hums"))),
        Box::new(ImportError::NotText),
        Box::new(ImportError::Header(json_error())),
        Box::new(ImportError::Format(9)),
        Box::new(ImportError::Line { line: 3, source: json_error() }),
        Box::new(ImportError::TooLong { line: 3, bytes: 5_000_000 }),
        Box::new(ImportError::Broken { line: 3, what: "the position does not follow the one before" }),
        Box::new(ImportError::Group { line: 3, source: open }),
        Box::new(ImportError::CutOff { line: 3, partition: 0 }),
        Box::new(PastError::NotServed { aggregate: aggregate.clone(), served: "order".into() }),
        Box::new(PastError::Link { aggregate, position: position(7) }),
        Box::new(FeedError::Missing("EVENTS_0".into())),
        Box::new(FeedError::Nameless("EVENTS_0".into())),
        Box::new(FeedError::NotACommit { stream: "EVENTS_0".into(), position: position(7), what: What::Chain }),
        Box::new(FeedError::Broker { what: "reading EVENTS_0".into(), source: "timed out".into() }),
        Box::new(RestoreError::OtherStore { partition: 1 }),
        Box::new(RestoreError::HalfOfABatch { partition: 0, last: position(7) }),
    ];
    let mut text = String::new();
    for error in errors {
        writeln!(text, "{error}").unwrap();
    }
    assert_shown("replay__remedies", &text);
}

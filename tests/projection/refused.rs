//! What is not folded, and what is said then.

use std::error::Error;

use bytes::Bytes;
use hapax::projection::{
    ApplyError, Definition, Fold, Happened, HomeError, MemoryHome, Model, Projection, ProjectionError, SledHome, Table,
};
use hapax::samples::{Balances, Order, OrderEvent};
use hapax::{
    AggregateId, ChainHash, Command, CommandId, CommandName, Commit, Decision, Identity, Outcome, Position, Principal,
    RecordedEvent, Timestamp, Version,
};
use rand::SeedableRng;
use rand::rngs::StdRng;
use uuid::Uuid;

use crate::money::{STORE, expected, open, partitions, rows};

/// Commits of one event each, in a chain.
fn commits(events: &[(&str, &str, u32, &str)]) -> Vec<Commit> {
    let (mut commits, mut hash) = (Vec::new(), ChainHash::of_store(STORE));
    for (number, (aggregate, kind, schema, data)) in (1..).zip(events) {
        let aggregate: AggregateId = aggregate.parse().unwrap();
        let id = CommandId::parse(&format!("command-{number:010}")).unwrap();
        let data = serde_json::from_str(data).unwrap();
        let event = RecordedEvent { kind: (*kind).to_owned(), schema: *schema, data };
        let outcome = Outcome {
            id: id.clone(),
            aggregate: aggregate.clone(),
            version: Version(number),
            position: Position::new(number).unwrap(),
            decided_at: Timestamp::EPOCH,
            decision: Decision::Accepted(vec![event]),
        };
        let command = Command {
            identity: Identity { principal: Principal::parse("alice").unwrap(), key: aggregate.key.clone(), id },
            aggregate,
            name: CommandName::parse("do").unwrap(),
            data: Bytes::from_static(b"{}"),
            expected: None,
            not_after: None,
            traceparent: None,
        };
        let commit = Commit::record(command, &outcome, None, &hash);
        hash = commit.hash;
        commits.push(commit);
    }
    commits
}

fn text(error: &dyn Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", text(source)),
        None => error.to_string(),
    }
}

/// What cannot be read stops the fold; what came before it is there, also if it came with it.
#[test]
fn an_event_that_is_not_known_stops_it() {
    let open_it = ("account/1", "opened", 1, r#"{"owner":"ann"}"#);
    let put = ("account/1", "deposited", 1, r#"{"amount":7}"#);
    for (event, why) in [
        (
            ("account/1", "frozen", 1, "{}"),
            r#"account/1: the commit at position 3 of partition 0 cannot be projected: the event "frozen" (schema 1) cannot be read: this version knows closed (schema 1), deposited (schema 1), opened (schema 1), withdrawn (schema 1); it was made by a later version (run that one), or its variant was renamed or removed without an upcaster"#,
        ),
        (
            ("account/1", "deposited", 2, r#"{"amount":7,"means":"cash"}"#),
            r#"account/1: the commit at position 3 of partition 0 cannot be projected: the event "deposited" (schema 2) cannot be read: this version knows deposited up to schema 1; it was made by a later version, run that one"#,
        ),
        (
            ("account/2", "deposited", 1, r#"{"amount":7}"#),
            "account/2: projecting the commit at position 3 of partition 0 panicked: nothing happens to an account before it is opened",
        ),
    ] {
        let mut fold = open(MemoryHome::default());
        let error = fold.take(0, commits(&[open_it, put, event, put])).unwrap_err();
        assert_eq!(text(&error), why);
        assert_eq!(fold.mark().partitions[0].unwrap().position.get(), 2);
        assert_eq!(rows(&fold)["ann"].balance, 7);
    }
}

/// What was given back for orders that were cancelled; before schema 2 that was not recorded.
struct Refunds;

impl Projection for Refunds {
    const NAME: &'static str = "refunds";
    const VERSION: u32 = 1;
    type Row = Vec<OrderEvent>;
    const ROWS: Table<Vec<OrderEvent>> = Table::named("refunds");

    fn apply(happened: &Happened<'_>, model: &mut Model<'_>) -> Result<(), ApplyError> {
        let events = happened.events::<Order>()?;
        if events.is_empty() {
            model.remove(Self::ROWS, happened.key())
        } else {
            model.put(Self::ROWS, happened.key(), &events)?
        }
        Ok(())
    }
}

#[test]
fn an_old_event_comes_in_todays_form_and_a_row_can_be_taken_away() {
    let commits = commits(&[
        ("order/1", "cancelled", 1, r#"{"reason":"late","refund":50}"#),
        ("order/2", "shipped", 1, r#"{"tracking":"T1"}"#),
        ("account/2", "opened", 1, r#"{"owner":"ann"}"#), // No order: of its key there is no row any more.
    ]);
    let (mut fold, _) = Fold::open(Definition::of::<Refunds>(), Box::new(MemoryHome::default()), STORE, 1).unwrap();
    fold.take(0, commits).unwrap();
    let row = fold.get(Refunds::ROWS, "1").unwrap();
    assert!(matches!(&row.unwrap()[..], [OrderEvent::Cancelled { reason, refunded: 50 }] if reason == "late"));
    assert!(fold.get(Refunds::ROWS, "2").unwrap().is_none());
    assert_eq!(fold.mark().rows.count, 1);
}

#[test]
fn another_feed_is_refused() {
    let mut random = StdRng::seed_from_u64(1);
    let [ours, others] = partitions(&mut random, 20);
    let mut fold = open(MemoryHome::default());
    fold.take(0, ours[..5].to_vec()).unwrap();
    let error = fold.take(0, others[5..].to_vec()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the feed of partition 0 is not the one that this projection was folded from: its commit at position 6 does not \
         continue the chain; if the feed is right, fold it again with --rebuild"
    );
    let error = fold.take(0, ours[6..].to_vec()).unwrap_err();
    assert_eq!(error.to_string(), "partition 0 is folded up to before position 6, and 7 came: commits are missing");
    // Nothing of it is there, and it goes on with what is right.
    fold.take(0, ours.clone()).unwrap();
    assert_eq!(rows(&fold), expected(&ours));
}

#[test]
fn another_store_and_a_second_process_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = StdRng::seed_from_u64(1);
    let mut fold = open(SledHome::open(folder.path()).unwrap().0);
    fold.take(0, partitions(&mut random, 20)[0].clone()).unwrap();
    assert!(matches!(SledHome::open(folder.path()), Err(HomeError::InUse { .. })));
    drop(fold);
    let (home, _) = SledHome::open(folder.path()).unwrap();
    let opened = Fold::open(Definition::of::<Balances>(), Box::new(home), Uuid::from_u128(7), 2);
    let Err(error @ ProjectionError::OtherStore { .. }) = opened else { panic!("it is refused") };
    assert_eq!(
        error.to_string(),
        "this projection was folded from the feed of store 00000000-0000-0000-0000-000000000000, and this is the feed of \
         store 00000000-0000-0000-0000-000000000007: keep it in another folder, or fold it from this feed with --rebuild"
    );
    let kept = open(SledHome::open(folder.path()).unwrap().0);
    assert!(!rows(&kept).is_empty(), "nothing was touched");
}

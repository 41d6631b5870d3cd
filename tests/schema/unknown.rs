//! A store with an event of a later version, under today's: the aggregate that has it stops, by name, and is not guessed
//! at; the others are served.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hapax::client::{Cause, Client, QueryError, SendError};
use hapax::model::outcome::Reply;
use hapax::model::subject::QuerySubject;
use hapax::replay::states::States;
use hapax::samples::{Account, AccountCommand, Order, OrderCommand};
use hapax::serve::DataDir;
use hapax::store::file::FileStore;
use hapax::store::{CommitReader, EventStore, ReadError, Recorded, Tip};
use hapax::{
    Aggregate, AggregateId, Command, CommandId, CommandName, Commit, Decision, Identity, Outcome, Principal,
    RecordedEvent, Service, Timestamp, Version,
};

use crate::common::nats::NatsServer;
use crate::processor::{RunningProcessor, samples};

/// A store with one commit of each aggregate, with the event that is said.
fn write(data: &Path, commits: &[(&str, &str, u32, &str)]) {
    let dir = DataDir::open_or_create(data, None).unwrap();
    let (mut store, mut tip) = FileStore::open(&dir.journal_dir(0), dir.store_id(0), None).unwrap();
    for (number, (aggregate, event, schema, fields)) in commits.iter().enumerate() {
        let aggregate: AggregateId = aggregate.parse().unwrap();
        let id = CommandId::parse(&format!("a-later-version-{number}")).unwrap();
        let event =
            RecordedEvent { kind: (*event).to_owned(), schema: *schema, data: serde_json::from_str(fields).unwrap() };
        let outcome = Outcome {
            id: id.clone(),
            aggregate: aggregate.clone(),
            version: Version(1),
            position: hapax::Position::after(tip.position),
            decided_at: Timestamp::EPOCH,
            decision: Decision::Accepted(vec![event]),
        };
        let command = Command {
            identity: Identity { principal: Principal::parse("alice").unwrap(), key: aggregate.key.clone(), id },
            aggregate,
            name: CommandName::parse("place").unwrap(),
            data: Bytes::from_static(b"{}"),
            expected: None,
            not_after: None,
            traceparent: None,
        };
        let commit = Commit::record(command, &outcome, None, &tip.hash);
        tip = Tip::of(&commit);
        store.append(vec![commit]);
    }
    drop(store); // Waits until everything is durable.
    dir.begin(false).unwrap();
}

const KNOWS: &str =
    "this version knows cancelled (schemas 1 to 2), paid (schema 1), placed (schema 1), shipped (schema 1)";

#[tokio::test(flavor = "multi_thread")]
async fn an_event_of_a_later_version_stops_its_aggregate() {
    let (nats, data) = (NatsServer::start(), tempfile::tempdir().unwrap());
    let placed = r#"{"lines":[],"total":100}"#;
    write(
        data.path(),
        &[
            ("order/later", "placed", 2, placed),
            ("order/unknown", "returned", 1, "{}"),
            ("order/other", "placed", 1, r#"{"lines":[],"sum":100}"#),
            ("order/fine", "placed", 1, placed),
        ],
    );
    // The start reads what the journal holds, and needs to know none of it.
    let processor = RunningProcessor::start(&nats, data.path()).await;
    let client = Client::new(nats.client().await, Principal::parse("alice").unwrap()).await.unwrap();
    let later = "order/later: the event \"placed\" (schema 2) at position 1 cannot be read: this version knows placed up to \
                 schema 1; it was made by a later version, run that one";
    let unknown =
        format!("order/unknown: the event \"returned\" (schema 1) at position 2 cannot be read: {KNOWS}; it was");
    let other = "order/other: the event \"placed\" (schema 1) at position 3 cannot be read: its data does not fit: missing \
                 field `total`";
    for (key, said) in [("later", later), ("unknown", &unknown), ("other", other)] {
        // Loaded for a decision: refused, and nothing is recorded.
        let sent = client.send(Order::at(key), OrderCommand::Pay { amount: 1 }).deadline(Duration::from_secs(2)).await;
        let Err(SendError::Unknown { cause: Cause::Refused(refusal), .. }) = sent else { panic!("decided: {sent:?}") };
        assert!(refusal.code == 503 && refusal.message.contains(said), "{}", refusal.message);
        // Asked for, now and in the past.
        let state = client.state(Order::at(key)).await;
        let Err(QueryError::Refused(refusal)) = state else { panic!("a guess: {state:?}") };
        assert!(refusal.code == 503 && refusal.message.contains(said), "{}", refusal.message);
        let aggregate = format!("order/{key}").parse().unwrap();
        let past = QuerySubject::State { principal: client.principal().clone(), aggregate };
        let answer = client.query(&past, r#"{"at_version":1}"#.into(), Duration::from_secs(5)).await.unwrap();
        let Ok(Reply::Refused(refusal)) = Reply::from_json(&answer) else { panic!("a guess: {answer:?}") };
        assert!(refusal.code == 503 && refusal.message.contains(said), "{}", refusal.message);
    }
    client.send(Order::at("fine"), OrderCommand::Pay { amount: 100 }).await.unwrap();
    client.send(Account::at("later"), AccountCommand::Open { owner: "ann".into() }).await.unwrap();
    let order = client.state(Order::at("fine")).await.unwrap();
    assert_eq!((order.version, order.state.paid), (Version(2), 100));
    processor.stop().await;
    // Four that were there, and two that are fine.
    let journal = DataDir::open(data.path()).unwrap().journal_dir(0);
    let reader = hapax::store::file::FileReader::open_read_only(&journal).unwrap();
    assert_eq!(reader.last().unwrap().get(), 6);
    // Folded as a whole, they have no state either, and the others have theirs.
    let folded = |service: Service| {
        let mut states = States::new(Arc::new(service));
        let said = |Recorded { change, .. }: Recorded<'_>| {
            let _no_state = states.follow(change);
            Ok::<_, ReadError>(())
        };
        reader.changes(said).unwrap();
        states
    };
    let (of, fine) = (|name: &str| name.parse::<AggregateId>().unwrap(), "order/fine");
    let states = folded(samples());
    let error = states.get(&of("order/later")).unwrap_err();
    assert!(error.contains(later), "{error}");
    assert_eq!(states.version(&of(fine)), Version(2));
    let error = folded(Service::new().with::<Account>()).get(&of(fine)).unwrap_err();
    assert_eq!(error, "order is not served");
}

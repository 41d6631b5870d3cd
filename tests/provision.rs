//! Streams and consumers on a real server: what is missing is made, what differs is refused.

mod common;

use std::time::Duration;

use async_nats::jetstream::consumer::{FromConsumer, pull};
use async_nats::jetstream::{self, stream};
use common::nats::NatsServer;
use futures::StreamExt;
use hapax::Key;
use hapax::model::partition::partition_of;
use hapax::nats::provision::{
    COMMANDS, Drift, ProvisionError, Provisioned, Wanted, broker_time, check_or_create, events,
};
use uuid::Uuid;

const STORE: Uuid = Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0001);

fn wanted(partitions: u32) -> Wanted {
    Wanted { partitions, store: STORE, create: true, take_over: false }
}

/// A server where everything is provisioned.
async fn provisioned(partitions: u32) -> (NatsServer, jetstream::Context, Provisioned) {
    let server = NatsServer::start();
    let context = jetstream::new(server.client().await);
    let provisioned = check_or_create(&context, &wanted(partitions)).await.unwrap();
    (server, context, provisioned)
}

async fn drifts(context: &jetstream::Context, wanted: &Wanted) -> Vec<Drift> {
    match check_or_create(context, wanted).await {
        Err(ProvisionError::Drifted(drifts)) => drifts,
        other => panic!("no drift was seen: {other:?}"),
    }
}

#[tokio::test]
async fn creates_what_is_missing_and_then_nothing() {
    let (_server, context, first) = provisioned(3).await;
    assert_eq!(first.created, ["COMMANDS", "QUARANTINE", "processor-0", "processor-1", "processor-2"]);

    let second = check_or_create(&context, &wanted(3)).await.unwrap();
    assert_eq!(second.created, [""; 0]);
    assert_eq!(second.consumers.len(), 3);
}

#[tokio::test]
async fn several_may_provision_at_once() {
    let server = NatsServer::start();
    let context = jetstream::new(server.client().await);
    let all = futures::future::join_all((0..8).map(|_| async { check_or_create(&context, &wanted(2)).await })).await;
    for one in all {
        assert_eq!(one.unwrap().consumers.len(), 2);
    }
}

#[tokio::test]
async fn a_deleted_consumer_is_made_again() {
    let (_server, context, _) = provisioned(2).await;
    context.delete_consumer_from_stream("processor-1", COMMANDS).await.unwrap();
    assert_eq!(check_or_create(&context, &wanted(2)).await.unwrap().created, ["processor-1"]);
}

/// A power cut can leave such a file; nothing but removing it helps.
#[tokio::test]
async fn a_consumer_that_the_server_cannot_read_is_named_with_the_remedy() {
    let (mut server, ..) = provisioned(1).await;
    let check = async |server: &NatsServer| {
        let context = jetstream::new(server.client().await);
        check_or_create(&context, &wanted(1)).await
    };
    server.kill();
    let folder = server.streams().join("COMMANDS/obs/processor-0");
    std::fs::write(folder.join("o.dat"), [0; 40]).unwrap();
    server.start_again();
    let refused = check(&server).await;
    let Err(error @ ProvisionError::ConsumerDamaged { .. }) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains("COMMANDS/obs/processor-0"), "{error}");
    server.kill();
    std::fs::remove_dir_all(folder).unwrap();
    server.start_again();
    check(&server).await.unwrap();
}

#[tokio::test]
async fn creates_nothing_that_it_may_not() {
    let server = NatsServer::start();
    let context = jetstream::new(server.client().await);
    let only_check = Wanted { create: false, ..wanted(1) };
    let refused = check_or_create(&context, &only_check).await;
    assert!(matches!(refused, Err(ProvisionError::Missing(what)) if what == "stream COMMANDS"));

    check_or_create(&context, &wanted(1)).await.unwrap();
    context.delete_consumer_from_stream("processor-0", COMMANDS).await.unwrap();
    let refused = check_or_create(&context, &only_check).await;
    assert!(matches!(refused, Err(ProvisionError::Missing(what)) if what == "consumer processor-0"));
}

/// What somebody may change a stream to, and the setting that must then be named.
type StreamChange = (fn(&mut stream::Config), &'static str);

#[tokio::test]
async fn every_drifted_setting_of_a_stream_is_refused() {
    let changes: [StreamChange; 10] = [
        (|config| config.duplicate_window = Duration::from_secs(120), "duplicate_window"),
        (|config| config.max_bytes = -1, "max_bytes"),
        (|config| config.max_message_size = -1, "max_msg_size"),
        (|config| config.max_age = Duration::from_secs(3600), "max_age"),
        (|config| config.max_messages = 10, "max_msgs"),
        (|config| config.max_messages_per_subject = 1, "max_msgs_per_subject"),
        (|config| config.discard = stream::DiscardPolicy::Old, "discard"),
        (|config| config.no_ack = true, "no_ack"),
        (|config| config.subjects = vec!["cmd.>".into()], "subjects"),
        (|config| config.subject_transform = None, "subject_transform"),
    ];
    let (_server, context, _) = provisioned(1).await;
    let good = context.get_stream(COMMANDS).await.unwrap().cached_info().config.clone();
    for (change, setting) in changes {
        let mut changed = good.clone();
        change(&mut changed);
        context.update_stream(changed).await.unwrap();
        let seen = drifts(&context, &wanted(1)).await;
        assert_eq!(seen.iter().map(|drift| drift.setting).collect::<Vec<_>>(), [setting]);
        assert!(seen.iter().all(|drift| drift.of == "stream COMMANDS"));
        context.update_stream(good.clone()).await.unwrap();
    }
    check_or_create(&context, &wanted(1)).await.unwrap();
}

#[tokio::test]
async fn what_only_creation_decides_is_refused_too_and_all_of_it_is_named() {
    let server = NatsServer::start();
    let context = jetstream::new(server.client().await);
    let foreign = stream::Config {
        name: COMMANDS.into(),
        subjects: vec!["cmd.*.*.*.*".into()],
        storage: stream::StorageType::Memory,
        allow_rollup: true,
        allow_message_schedules: true,
        allow_message_ttl: true,
        ..stream::Config::default()
    };
    context.create_stream(foreign).await.unwrap();
    let seen = drifts(&context, &wanted(1)).await;
    let settings: Vec<_> = seen.iter().map(|drift| drift.setting).collect();
    assert_eq!(
        settings,
        [
            "subject_transform",
            "retention",
            "storage",
            "discard",
            "max_bytes",
            "max_msg_size",
            "duplicate_window",
            "deny_delete",
            "deny_purge",
            "allow_rollup_hdrs",
            "allow_msg_schedules",
            "allow_msg_ttl",
        ]
    );
}

/// What somebody may change a consumer to, and the setting that must then be named.
type ConsumerChange = (fn(&mut pull::Config), &'static str);

#[tokio::test]
async fn every_drifted_setting_of_a_consumer_is_refused() {
    let changes: [ConsumerChange; 7] = [
        (|config| config.ack_wait = Duration::from_secs(30), "ack_wait"),
        (|config| config.max_ack_pending = 1_000, "max_ack_pending"),
        (|config| config.max_deliver = 5, "max_deliver"),
        (|config| config.filter_subject = "work.0.alice.>".into(), "filter_subject"),
        (|config| config.headers_only = true, "headers_only"),
        (|config| config.max_batch = 1, "max_batch"),
        (|config| config.max_expires = Duration::from_secs(1), "max_expires"),
    ];
    let (_server, context, provisioned) = provisioned(1).await;
    let found = provisioned.consumers[0].cached_info().config.clone();
    let good = pull::Config::try_from_consumer_config(found).unwrap();
    for (change, setting) in changes {
        let mut changed = good.clone();
        change(&mut changed);
        context.update_consumer_on_stream(changed, COMMANDS).await.unwrap();
        let seen = drifts(&context, &wanted(1)).await;
        assert_eq!(seen.iter().map(|drift| drift.setting).collect::<Vec<_>>(), [setting]);
        assert_eq!(seen[0].of, "consumer processor-0");
        context.update_consumer_on_stream(good.clone(), COMMANDS).await.unwrap();
    }
    check_or_create(&context, &wanted(1)).await.unwrap();
}

#[tokio::test]
async fn another_number_of_partitions_is_refused() {
    let (_server, context, _) = provisioned(2).await;
    let seen = drifts(&context, &wanted(3)).await;
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].of.as_str(), seen[0].setting), ("stream COMMANDS", "subject_transform"));
    assert!(seen[0].found.contains("partition(2,3)") && seen[0].wanted.contains("partition(3,3)"));
}

fn wanted_feed(had: bool) -> events::Wanted {
    events::Wanted { partitions: 2, store: STORE, create: true, had }
}

#[tokio::test]
async fn the_streams_of_the_feed_are_made_once_and_never_again() {
    let server = NatsServer::start();
    let context = jetstream::new(server.client().await);
    let missing = events::check_or_create(&context, &events::Wanted { create: false, ..wanted_feed(false) }).await;
    assert!(matches!(missing, Err(ProvisionError::Missing(what)) if what == "stream EVENTS_0"));
    assert_eq!(events::check_or_create(&context, &wanted_feed(false)).await.unwrap(), ["EVENTS_0", "EVENTS_1"]);
    assert_eq!(events::check_or_create(&context, &wanted_feed(true)).await.unwrap(), [""; 0]);
    context.delete_stream("EVENTS_1").await.unwrap();
    let lost = events::check_or_create(&context, &wanted_feed(true)).await;
    assert!(matches!(lost, Err(ProvisionError::FeedLost { stream }) if stream == "EVENTS_1"));
    let more = events::Wanted { partitions: 3, ..wanted_feed(false) };
    let foreign = events::check_or_create(&context, &more).await;
    assert!(matches!(foreign, Err(ProvisionError::ForeignFeed { stream, .. }) if stream == "EVENTS_0"));
}

#[tokio::test]
async fn every_drifted_setting_of_the_feed_is_refused() {
    let changes: [StreamChange; 9] = [
        (|config| config.duplicate_window = Duration::from_secs(120), "duplicate_window"),
        (|config| config.max_bytes = 1 << 30, "max_bytes"),
        (|config| config.max_message_size = 1_000, "max_msg_size"),
        (|config| config.max_age = Duration::from_secs(3600), "max_age"),
        (|config| config.max_messages = 10, "max_msgs"),
        (|config| config.max_messages_per_subject = 1, "max_msgs_per_subject"),
        (|config| config.discard = stream::DiscardPolicy::Old, "discard"),
        (|config| config.subjects = vec!["evt.0.*.*".into()], "subjects"),
        (|config| config.allow_atomic_publish = false, "allow_atomic"),
    ];
    let server = NatsServer::start();
    let context = jetstream::new(server.client().await);
    events::check_or_create(&context, &wanted_feed(false)).await.unwrap();
    let good = context.get_stream("EVENTS_0").await.unwrap().cached_info().config.clone();
    for (change, setting) in changes {
        let mut changed = good.clone();
        change(&mut changed);
        context.update_stream(changed).await.unwrap();
        let Err(ProvisionError::Drifted(seen)) = events::check_or_create(&context, &wanted_feed(true)).await else {
            panic!("{setting}: no drift was seen")
        };
        assert_eq!(seen.iter().map(|drift| drift.setting).collect::<Vec<_>>(), [setting]);
        assert!(seen.iter().all(|drift| drift.of == "stream EVENTS_0"));
        context.update_stream(good.clone()).await.unwrap();
    }
    assert_eq!(events::check_or_create(&context, &wanted_feed(true)).await.unwrap(), [""; 0]);
}

#[tokio::test]
async fn a_consumer_of_another_store_is_refused_until_it_is_taken_over() {
    let (_server, context, _) = provisioned(1).await;
    let other = Wanted { store: Uuid::from_u128(2), ..wanted(1) };
    let refused = check_or_create(&context, &other).await;
    assert!(matches!(refused, Err(ProvisionError::ForeignStore { found, .. }) if found == STORE.to_string()));

    check_or_create(&context, &Wanted { take_over: true, ..other.clone() }).await.unwrap();
    check_or_create(&context, &other).await.unwrap();
    let refused = check_or_create(&context, &wanted(1)).await;
    assert!(matches!(refused, Err(ProvisionError::ForeignStore { .. })));
}

#[tokio::test]
async fn a_consumer_in_use_is_refused() {
    let (server, context, provisioned) = provisioned(1).await;
    let their_client = server.client().await;
    let subject = "$JS.API.CONSUMER.MSG.NEXT.COMMANDS.processor-0";
    let their_inbox = their_client.new_inbox();
    let _theirs = their_client.subscribe(their_inbox.clone()).await.unwrap();
    let pull = r#"{"batch":1,"expires":60000000000}"#;
    their_client.publish_with_reply(subject, their_inbox, pull.into()).await.unwrap();
    their_client.flush().await.unwrap();
    let refused = check_or_create(&context, &wanted(1)).await;
    assert!(matches!(refused, Err(ProvisionError::Busy { consumer }) if consumer == "processor-0"));
    check_or_create(&context, &Wanted { take_over: true, ..wanted(1) }).await.unwrap();

    // A killed processor's pulls vanish with its connection.
    their_client.drain().await.unwrap();
    check_or_create(&context, &wanted(1)).await.unwrap();
    drop(provisioned);
}

#[tokio::test]
async fn subjects_of_another_stream_are_a_clear_error() {
    let server = NatsServer::start();
    let context = jetstream::new(server.client().await);
    let theirs = stream::Config { name: "THEIRS".into(), subjects: vec!["cmd.alice.>".into()], ..Default::default() };
    context.create_stream(theirs).await.unwrap();
    let refused = check_or_create(&context, &wanted(1)).await;
    assert!(
        matches!(&refused, Err(ProvisionError::SubjectsTaken { stream, other }) if stream == COMMANDS && other == "THEIRS"),
        "{refused:?}"
    );
}

#[tokio::test]
async fn the_server_chooses_the_partition_that_we_compute() {
    const PARTITIONS: u32 = 5;
    let (_server, context, _) = provisioned(PARTITIONS).await;
    let keys: Vec<Key> = (0..200).map(|number| Key::parse(&format!("key-{number}/{{$~")).unwrap()).collect();
    for key in &keys {
        context.publish(format!("cmd.alice.account.{key}.deposit"), "{}".into()).await.unwrap().await.unwrap();
    }
    for key in &keys {
        let partition = partition_of(key, PARTITIONS);
        let subject = format!("work.{partition}.alice.account.{key}.deposit");
        let stream = context.get_stream(COMMANDS).await.unwrap();
        stream.get_last_raw_message_by_subject(&subject).await.unwrap();
    }
}

#[tokio::test]
async fn a_copy_is_absorbed_for_a_moment_only() {
    let (_server, context, _) = provisioned(1).await;
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Msg-Id", "id-0123456789abcdef");
    let send = || async {
        let ack = context.publish_with_headers("cmd.alice.account.42.deposit", headers.clone(), "{}".into()).await;
        ack.unwrap().await.unwrap().duplicate
    };
    assert!(!send().await);
    assert!(send().await);
    // A retry must get through within the time after which senders are told to retry, or soon after it.
    let retries = futures::stream::repeat(()).then(|()| async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        send().await
    });
    let absorbed = retries.take_while(|duplicate| std::future::ready(*duplicate)).count();
    assert!(absorbed.await <= 5, "retries were absorbed for longer than 250 ms");
}

#[tokio::test]
async fn the_broker_tells_its_time() {
    let (_server, context, _) = provisioned(1).await;
    let ours = time::OffsetDateTime::now_utc();
    let theirs = broker_time(&context).await.unwrap();
    let difference = theirs.unix_micros() - i64::try_from(ours.unix_timestamp_nanos() / 1_000).unwrap();
    assert!((-100_000..5_000_000).contains(&difference), "{difference} µs");
}

/// The broker's disk lost a stream's messages in a power cut, and not what the consumer remembered. The consumer then took
/// the next commands for delivered, up to the number that it had come to before: they lay in the stream, nobody got them,
/// and everything looked well. It is made anew.
#[tokio::test]
async fn a_consumer_that_is_ahead_of_its_stream_is_made_anew() {
    let (mut server, context, provisioned) = provisioned(1).await;
    let publish = async |context: &jetstream::Context| {
        context.publish("cmd.alice.account.42.open", "{}".into()).await.unwrap().await.unwrap();
    };
    for _ in 0..3 {
        publish(&context).await;
    }
    let [consumer] = &provisioned.consumers[..] else { panic!("one partition") };
    let mut messages = consumer.fetch().max_messages(3).messages().await.unwrap();
    while let Some(message) = messages.next().await {
        message.unwrap(); // Not acknowledged: of a consumer whose messages all are, the server notices by itself.
    }
    let stream = server.streams().join(COMMANDS);
    // Its state: two bytes of form, two numbers of what is acknowledged, and two of what is delivered.
    let state = stream.join("obs/processor-0/o.dat");
    let is_stored = || std::fs::read(&state).is_ok_and(|state| state.get(4) >= Some(&3));
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while !is_stored() {
        assert!(std::time::Instant::now() < deadline, "the server does not store what the consumer has come to");
        tokio::time::sleep(Duration::from_millis(50)).await;
        // It may not come to store the last delivery until there is another one.
        publish(&context).await;
        let mut more = consumer.fetch().max_messages(1).messages().await.unwrap();
        while more.next().await.is_some() {}
    }
    server.kill();
    std::fs::remove_dir_all(stream.join("msgs")).unwrap();
    server.start_again();

    let context = jetstream::new(server.client().await);
    let found = context.get_consumer_from_stream::<pull::Config, _, _>("processor-0", COMMANDS).await.unwrap();
    assert!(found.cached_info().delivered.stream_sequence > 0, "as after the power cut");
    let again = check_or_create(&context, &wanted(1)).await.unwrap();
    assert_eq!(again.created, ["processor-0"]);
    publish(&context).await;
    let mut messages = again.consumers[0].fetch().max_messages(1).messages().await.unwrap();
    assert!(messages.next().await.is_some(), "the new command is delivered");
}

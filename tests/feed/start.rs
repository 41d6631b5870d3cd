//! What a start finds out: a store and a feed that do not belong together.

use std::error::Error;

use hapax::nats::feed::Estranged;
use hapax::nats::provision::ProvisionError;
use hapax::serve::{Fatal, Feed, ServeError, Settings};
use hapax::{Position, serve};

use crate::common::feed::feed_is_store;
use crate::common::folder::copy_of;
use crate::common::nats::NatsServer;
use crate::plain::{Plain, id, site};
use crate::processor::{RunningProcessor, refused_start, samples, settings};
use crate::stream::{OPEN, SOME, some_of_everything};

/// A backup that is put back knows nothing of what was decided since, and would decide those ids again.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_of_the_store_is_refused() {
    let (nats, data, processor, alice) = site().await;
    alice.tell("account.41.open", &id(90), OPEN).await;
    processor.stop().await;
    let copy = copy_of(data.path());
    let processor = RunningProcessor::start(&nats, data.path()).await;
    some_of_everything(&alice).await;
    processor.stop().await;

    let error = refused_start(settings(nats.url(), copy.path())).await;
    let ServeError::Fatal(Fatal::BehindFeed { partition: 0, feed, .. }) = &error else { panic!("{error:?}") };
    assert_eq!(*feed, Position::new(1 + SOME).unwrap());
    assert!(error.to_string().contains("restore --from-feed"), "{error}");
    // The original goes on.
    RunningProcessor::start(&nats, data.path()).await.stop().await;
}

/// Two hosts on copies of one store have decided differently; the feed knows one of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_with_another_history_is_refused() {
    let (nats, data, processor, alice) = site().await;
    some_of_everything(&alice).await;
    processor.stop().await;
    let copy = copy_of(data.path());
    let unfed = Settings { feed: Feed::Off, ..settings(nats.url(), copy.path()) };
    let processor = RunningProcessor::start_with(samples(), unfed.clone()).await;
    alice.tell("account.42.deposit", &id(51), r#"{"amount":2}"#).await;
    processor.stop().await;
    let processor = RunningProcessor::start(&nats, data.path()).await;
    alice.tell("account.42.deposit", &id(50), r#"{"amount":1}"#).await;
    processor.stop().await;

    // It tells so also whom it is not to feed.
    for settings in [settings(nats.url(), copy.path()), unfed] {
        let error = refused_start(settings).await;
        let ServeError::Fatal(Fatal::Estranged { source: Estranged::Other(position), .. }) = &error else {
            panic!("{error:?}")
        };
        assert_eq!(*position, Position::new(SOME + 1).unwrap());
    }
    RunningProcessor::start(&nats, data.path()).await.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_that_is_lost_is_made_again_only_if_somebody_says_so() {
    let (nats, data, processor, alice) = site().await;
    some_of_everything(&alice).await;
    processor.stop().await;
    alice.jetstream().delete_stream("EVENTS_0").await.unwrap();
    let unfed = Settings { feed: Feed::Off, ..settings(nats.url(), data.path()) };
    RunningProcessor::start_with(samples(), unfed).await.stop().await; // Who wants none needs none.

    let error = refused_start(settings(nats.url(), data.path())).await;
    let ServeError::Fatal(Fatal::Provision(error @ ProvisionError::FeedLost { .. })) = &error else {
        panic!("{error:?}")
    };
    assert!(error.to_string().contains("EVENTS_0") && error.to_string().contains("--feed anew"), "{error}");
    let anew = Settings { feed: Feed::Anew, ..settings(nats.url(), data.path()) };
    RunningProcessor::start_with(samples(), anew.clone()).await.stop().await;
    assert_eq!(feed_is_store(&nats.client().await, data.path(), 0).await, 8);
    // One that is there stays as it is.
    RunningProcessor::start_with(samples(), anew).await.stop().await;
    assert_eq!(feed_is_store(&nats.client().await, data.path(), 0).await, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_with_holes_is_refused() {
    let (nats, data, processor, alice) = site().await;
    some_of_everything(&alice).await;
    processor.stop().await;
    let context = alice.jetstream();
    let mut config = context.get_stream("EVENTS_0").await.unwrap().cached_info().config.clone();
    config.max_messages = 5;
    config.discard = async_nats::jetstream::stream::DiscardPolicy::Old;
    context.update_stream(config.clone()).await.unwrap();
    let error = refused_start(settings(nats.url(), data.path())).await;
    let drifted = matches!(&error, ServeError::Fatal(Fatal::Provision(ProvisionError::Drifted(_))));
    assert!(drifted, "{error:?}");
    config.max_messages = -1;
    config.discard = async_nats::jetstream::stream::DiscardPolicy::New;
    context.update_stream(config).await.unwrap();
    let error = refused_start(settings(nats.url(), data.path())).await;
    assert_eq!(error.source().unwrap().to_string(), "3 messages of the feed are missing");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_of_another_store_is_refused() {
    let (nats, _data, processor, alice) = site().await;
    alice.tell("account.42.open", &id(0), OPEN).await;
    processor.stop().await;
    let other = tempfile::tempdir().unwrap();
    let taken_over = serve::Settings { take_over: true, ..settings(nats.url(), other.path()) };
    let error = refused_start(taken_over).await;
    let ServeError::Fatal(Fatal::Provision(error @ ProvisionError::ForeignFeed { .. })) = &error else {
        panic!("{error:?}")
    };
    assert!(error.to_string().starts_with("stream EVENTS_0 holds the feed of the store "), "{error}");
}

/// What has come to the feed was durable, also if nothing else says so any more: its loss is damage, and no torn tail.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_feed_has_is_no_torn_tail() {
    let nats = NatsServer::start();
    let data = tempfile::tempdir().unwrap();
    let processor = RunningProcessor::start(&nats, data.path()).await;
    let alice = Plain::connect(&nats, "alice").await;
    some_of_everything(&alice).await;
    processor.stop().await;
    // The index and its checkpoint are lost, and of the journal the end.
    for name in ["sled", "checkpoint.json"] {
        let path = data.path().join("p0").join(name);
        if path.is_dir() { std::fs::remove_dir_all(path).unwrap() } else { std::fs::remove_file(path).unwrap() }
    }
    let segment = data.path().join("p0/journal/00000000000000000001.log");
    let bytes = std::fs::read(&segment).unwrap();
    // Behind the commits are zeros that were written beforehand.
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    std::fs::write(&segment, &bytes[..written * 2 / 3]).unwrap();
    let error = refused_start(settings(nats.url(), data.path())).await;
    assert!(matches!(error, ServeError::Fatal(Fatal::BehindFeed { .. })), "{error:?}");
}

//! `hapax serve` and its feed, from outside: how it ends where it may not begin, and that nobody needs to have one.

use std::path::Path;

use hapax::serve::{Feed, Settings};

use crate::common::folder::copy_of;
use crate::common::nats::NatsServer;
use crate::plain::{Plain, id, site};
use crate::processor::{RunningProcessor, samples, settings};
use crate::program::{Running, code, run, stderr};
use crate::stream::{OPEN, SOME, some_of_everything, until_fed};

/// How a processor that is not to start ends, and what it says.
fn refused(nats: &NatsServer, data: &Path) -> (i32, String) {
    let output = run(&["serve", "--server", &nats.url(), "--data", &data.display().to_string()]);
    (code(&output), stderr(&output).to_owned())
}

/// A script that starts it can tell that another start does not help.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_not_what_its_feed_is_ends_with_eight() {
    let (nats, data, processor, alice) = site().await;
    some_of_everything(&alice).await;
    processor.stop().await;
    let copy = copy_of(data.path());
    let processor = RunningProcessor::start(&nats, data.path()).await;
    alice.tell("account.42.deposit", &id(50), r#"{"amount":1}"#).await;
    until_fed(&alice, SOME + 1).await;
    processor.stop().await;
    let (code, said) = refused(&nats, copy.path());
    assert!(code == 8 && said.contains("restore --from-feed"), "{code}: {said}");

    // The copy goes on by itself, on another server.
    let elsewhere = NatsServer::start();
    let unfed = Settings { feed: Feed::Off, ..settings(elsewhere.url(), copy.path()) };
    let processor = RunningProcessor::start_with(samples(), unfed).await;
    let answer = Plain::connect(&elsewhere, "alice").await.tell("account.42.deposit", &id(51), r#"{"amount":2}"#).await;
    assert_eq!(answer.verdict().0, 200);
    processor.stop().await;
    let (code, said) = refused(&nats, copy.path());
    let other = format!("the message at position {} of the feed is not what the store has there", SOME + 1);
    assert!(code == 8 && said.contains(&other), "{code}: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_no_feed_says_so_and_has_none() {
    let (nats, data) = (NatsServer::start(), tempfile::tempdir().unwrap());
    let data = data.path().join("data");
    let processor = Running::serve_with(&nats.url(), &data, &["--feed", "off"]);
    let alice = Plain::connect(&nats, "alice").await;
    assert_eq!(alice.tell("account.42.open", &id(0), OPEN).await.verdict().0, 200);
    processor.stop();
    assert!(alice.jetstream().get_stream("COMMANDS").await.is_ok());
    assert!(alice.jetstream().get_stream("EVENTS_0").await.is_err(), "it is made though nobody wants it");
    Running::serve(&nats.url(), &data).stop();
    assert!(alice.jetstream().get_stream("EVENTS_0").await.is_ok());
}

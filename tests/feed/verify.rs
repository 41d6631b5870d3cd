//! `hapax verify --feed`: a feed that lags is none the worse for it; one that has anything else than the store is (I18).

use std::path::Path;
use std::process::Command;

use hapax::serve::{Feed, Settings};

use crate::common::feed::Fed;
use crate::common::folder::copy_of;
use crate::common::nats::NatsServer;
use crate::plain::{Plain, id};
use crate::processor::{RunningProcessor, samples, settings};
use crate::stream::{SOME, fed, rewrite_feed, until_fed};

/// How it ends, and what it says of the feed.
fn verify(nats: &NatsServer, data: &Path) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hapax"));
    let command = command.args(["verify", "--feed", "--no-context", "--server", &nats.url(), "--data"]).arg(data);
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stdout.clone()).unwrap();
    let feed = said.lines().find_map(|line| line.strip_prefix("feed")).unwrap_or_else(|| panic!("{said}, {output:?}"));
    (output.status.code().unwrap(), feed.trim().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_that_has_everything_or_lags_agrees() {
    let (nats, data, alice, fed) = fed().await;
    assert_eq!(verify(&nats, data.path()), (0, "agrees, with every commit".into()));
    // The last one ends in an atomic batch: a power cut of the broker may leave that.
    for count in [7, 5, 0] {
        rewrite_feed(&alice, &fed[..count]).await;
        let lags = format!("agrees, and lags behind by {} commits", 8 - count);
        assert_eq!(verify(&nats, data.path()), (0, lags));
    }
    alice.jetstream().delete_stream("EVENTS_0").await.unwrap();
    let (code, said) = verify(&nats, data.path());
    assert!(code == 8 && said.starts_with("wrong: there is no stream EVENTS_0") && said.contains("anew"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_message_is_named() {
    let (nats, data, alice, fed) = fed().await;
    let forge = async |position: usize, change: &dyn Fn(&mut Fed)| {
        let mut forged = fed.clone();
        change(&mut forged[position - 1]);
        rewrite_feed(&alice, &forged).await;
        verify(&nats, data.path())
    };
    let other_owner = |fed: &mut Fed| fed.body = String::from_utf8_lossy(&fed.body).replace("ann", "eve").into();
    let wrong =
        "wrong: message {} of EVENTS_0 is not the commit that belongs there: {}. Only the processor may publish";
    for (position, change, what) in [
        (4, &other_owner as &dyn Fn(&mut Fed), "it does not continue the chain"),
        (1, &|fed| fed.chain_hash = "0".repeat(64), "it does not continue the chain"),
        (8, &|fed| fed.chain_hash.clear(), "it names no chain hash"),
        (2, &|fed| fed.subject = "evt.0.account.42".into(), "its subject is evt.0.account.42"),
    ] {
        let (code, said) = forge(position, change).await;
        let wrong = wrong.replacen("{}", &position.to_string(), 1).replacen("{}", what, 1);
        assert!(code == 8 && said.starts_with(&wrong) && said.contains("--feed anew"), "{said}");
    }
    // Behind the last commit too: that is no feed which the store has lost its end of.
    rewrite_feed(&alice, &[&fed[..], &fed[7..]].concat()).await;
    let (code, said) = verify(&nats, data.path());
    assert!(
        code == 8 && said.starts_with("wrong: message 9 of EVENTS_0 is not the commit that belongs there"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_that_is_ahead_of_the_store_or_of_another_history_is_found() {
    let (nats, data, alice, _) = fed().await;
    let older = copy_of(data.path());
    let processor = RunningProcessor::start(&nats, data.path()).await;
    alice.tell("account.42.deposit", &id(50), r#"{"amount":1}"#).await;
    until_fed(&alice, SOME + 1).await;
    // Beside a running processor, too.
    assert_eq!(verify(&nats, data.path()), (0, "agrees, with every commit".into()));
    processor.stop().await;
    let (code, said) = verify(&nats, older.path());
    let ahead =
        "wrong: it goes up to position 9, and the journal only up to 8: the data directory is an older copy of itself";
    assert!(code == 8 && said.starts_with(ahead) && said.contains("restore --from-feed"), "{said}");

    // The copy decides for itself. It has a server of its own, for on this one it is refused.
    let elsewhere = NatsServer::start();
    let unfed = Settings { feed: Feed::Anew, ..settings(elsewhere.url(), older.path()) };
    let processor = RunningProcessor::start_with(samples(), unfed).await;
    Plain::connect(&elsewhere, "alice").await.tell("account.42.deposit", &id(51), r#"{"amount":2}"#).await;
    processor.stop().await;
    let (code, said) = verify(&nats, older.path());
    assert!(code == 8 && said.starts_with("wrong: position 9 is another commit than in the journal"), "{said}");
}

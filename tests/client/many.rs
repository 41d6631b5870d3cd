//! Many commands at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::{StreamExt, stream};
use hapax::Aggregate;
use hapax::client::{Prepared, SendError};
use hapax::samples::{Account, AccountCommand::*};

use crate::fake::Heard;
use crate::set_up;

fn deposits(count: i64) -> impl Iterator<Item = Prepared<Account>> {
    (1..=count).map(|amount| Prepared::new(Account::at("42"), Deposit { amount }))
}

#[tokio::test]
async fn first_copies_keep_the_order_of_the_stream_and_each_has_its_outcome() {
    let (_server, fake, client) = set_up(|heard| vec![heard.accepted(heard.number as u64 + 1, "[]")]).await;
    let settled: BTreeMap<usize, _> = client.send_all(stream::iter(deposits(2_000)), 100).collect().await;
    assert_eq!(settled.len(), 2_000);
    for (number, result) in settled {
        assert_eq!(result.unwrap().version().0, number as u64 + 1, "another command's outcome");
    }
    let bodies: Vec<String> = fake.commands().into_iter().map(|heard| heard.body).collect();
    let sent: Vec<String> = (1..=2_000).map(|amount| format!(r#"{{"amount":{amount}}}"#)).collect();
    assert_eq!(bodies, sent);
    let ids: BTreeSet<String> = fake.commands().iter().map(|heard| heard.id().to_owned()).collect();
    assert_eq!(ids.len(), 2_000);
}

#[tokio::test]
async fn no_more_than_the_window_is_under_way() {
    let (settled, widest) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let script = {
        let (settled, widest) = (Arc::clone(&settled), Arc::clone(&widest));
        move |heard: &Heard| {
            let under_way = heard.number + 1 - settled.load(Ordering::SeqCst);
            widest.fetch_max(under_way, Ordering::SeqCst);
            vec![heard.accepted(1, "[]").after(Duration::from_millis(1))]
        }
    };
    let (_server, _fake, client) = set_up(script).await;
    client
        .send_all(stream::iter(deposits(200)), 8)
        .for_each(|(_, result)| {
            result.unwrap();
            settled.fetch_add(1, Ordering::SeqCst);
            std::future::ready(())
        })
        .await;
    assert_eq!(widest.load(Ordering::SeqCst), 8);
}

#[tokio::test]
async fn one_that_cannot_be_sent_does_not_stop_its_neighbours() {
    let (_server, fake, client) = set_up(|heard| vec![heard.accepted(1, "[]")]).await;
    let commands = ["1", "a b", "3"].map(|key| Prepared::new(Account::at(key), Close));
    let settled: BTreeMap<usize, _> = client.send_all(stream::iter(commands), 0).collect().await;
    assert!(settled[&0].is_ok() && settled[&2].is_ok());
    assert!(matches!(settled[&1], Err(SendError::Encode(_))));
    assert_eq!(fake.commands().len(), 2);
}

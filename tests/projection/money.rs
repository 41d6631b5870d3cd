//! Accounts of a few owners, in two partitions, and what their balances must be.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use hapax::model::header;
use hapax::projection::{Definition, Fold, Home, Mark, MemoryHome, Projection};
use hapax::replay::states::States;
use hapax::samples::{Account, Balance, Balances};
use hapax::{Commit, Service};
use rand::Rng;
use rand::rngs::StdRng;
use uuid::Uuid;

use crate::common::pure::Pure;

pub(crate) const OWNERS: [&str; 3] = ["ann", "bob", "eve of the hill"];

/// The store of [`Pure`].
pub(crate) const STORE: Uuid = Uuid::nil();

/// What two partitions have recorded: openings, deposits, withdrawals of which many are too large, atomic transfers of which
/// many fail as a whole, closings.
pub(crate) fn partitions(random: &mut StdRng, commands: u32) -> [Vec<Commit>; 2] {
    ["a", "b"].map(|prefix| {
        let mut pure = Pure::new(Service::new().with::<Account>());
        for number in 0..commands {
            let key = |random: &mut StdRng| format!("{prefix}{}", random.gen_range(0..6));
            let (from, to, amount) = (key(random), key(random), random.gen_range(1..100));
            let owner = OWNERS[random.gen_range(0..OWNERS.len())];
            let item = |place: u32, key: &str, command: &str| {
                let id = format!("item-{number:08}-{place:08}");
                let data = format!(r#"{{"amount":{amount}}}"#);
                format!(r#"{{"id":"{id}","aggregate":"account","key":"{key}","command":"{command}","data":{data}}}"#)
            };
            let (to, body) = match random.gen_range(0..10) {
                0 | 1 => (format!("account.{from}.open"), format!(r#"{{"owner":"{owner}"}}"#)),
                2..5 => (format!("account.{from}.deposit"), format!(r#"{{"amount":{amount}}}"#)),
                5 | 6 => (format!("account.{from}.withdraw"), format!(r#"{{"amount":{amount}}}"#)),
                7 => (format!("account.{from}.close"), String::new()),
                _ => {
                    let items = [item(1, &from, "withdraw"), item(2, &to, "deposit")].join(",");
                    (format!("_batch.{from}.run"), format!(r#"{{"atomic":true,"commands":[{items}]}}"#))
                }
            };
            let id = (header::ID.to_owned(), format!("command-{number:010}"));
            pure.publish(0, &format!("cmd.alice.{to}"), &[id], Bytes::from(body), false);
            pure.settle();
        }
        pure.commits()
    })
}

/// What the owners' accounts hold, from the accounts' own states.
pub(crate) fn expected<'a>(commits: impl IntoIterator<Item = &'a Commit>) -> BTreeMap<String, Balance> {
    let mut states = States::new(Arc::new(Service::new().with::<Account>()));
    commits.into_iter().for_each(|commit| states.apply(commit).unwrap());
    let mut balances: BTreeMap<String, Balance> = BTreeMap::new();
    for (_, snapshot) in states.snapshots() {
        let account: Account = serde_json::from_slice(&snapshot.state).unwrap();
        let balance = balances.entry(account.owner.unwrap()).or_default();
        balance.accounts += u64::from(!account.closed);
        balance.balance += i128::from(account.balance);
    }
    balances
}

/// The rows of a fold.
pub(crate) fn rows(fold: &Fold) -> BTreeMap<String, Balance> {
    let row = |owner: &str| Some((owner.to_owned(), fold.get(Balances::ROWS, owner).unwrap()?));
    OWNERS.into_iter().filter_map(row).collect()
}

pub(crate) fn open(home: impl Home + 'static) -> Fold {
    Fold::open(Definition::of::<Balances>(), Box::new(home), STORE, 2).unwrap().0
}

/// Folded in one go, in memory.
pub(crate) fn folded(partitions: &[Vec<Commit>; 2]) -> (Mark, BTreeMap<String, Balance>) {
    let mut fold = open(MemoryHome::default());
    for (partition, commits) in (0..).zip(partitions) {
        fold.take(partition, commits.clone()).unwrap();
    }
    (fold.mark().clone(), rows(&fold))
}

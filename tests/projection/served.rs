//! The balances by owner, as a program of its own over a real nats-server.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use futures::{StreamExt, stream};
use hapax::client::{Client, Prepared};
use hapax::samples::{Account, AccountCommand};
use hapax::serve::Settings;
use hapax::{Aggregate, CommandId, Principal};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::nats::NatsServer;
use crate::common::proxy::Proxy;
use crate::processor::{RunningProcessor, samples, settings};
use crate::program::{Running, code, hapax, run, stderr, stdout};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const ACCOUNTS: u64 = 12;
pub(crate) const OWNERS: [&str; 3] = ["ann", "bob", "eve of the hill"];

fn owner_of(account: u64) -> &'static str {
    OWNERS[usize::try_from(account).unwrap() % OWNERS.len()]
}

/// A broker, a processor, and a client.
pub(crate) struct Site {
    pub(crate) nats: NatsServer,
    data: TempDir,
    pub(crate) processor: RunningProcessor,
    client: Client,
}

impl Site {
    pub(crate) async fn start(partitions: u32) -> Site {
        let (nats, data) = (NatsServer::start(), tempfile::tempdir().unwrap());
        let settings = Settings { partitions: Some(partitions), ..settings(nats.url(), data.path()) };
        let processor = RunningProcessor::start_with(samples(), settings).await;
        let client = Client::new(nats.client().await, Principal::parse("alice").unwrap()).await.unwrap();
        Site { nats, data, processor, client }
    }

    /// Opens the accounts, and moves money in and out of them; many withdrawals are too large.
    pub(crate) async fn load(&self, from: u64, count: u64) {
        let mut random = StdRng::seed_from_u64(from);
        let commands = (from..from + count).map(|number| {
            let amount = random.gen_range(1..100);
            let command = match number / ACCOUNTS {
                0 => AccountCommand::Open { owner: owner_of(number).to_owned() },
                _ if random.gen_bool(0.5) => AccountCommand::Deposit { amount },
                _ => AccountCommand::Withdraw { amount },
            };
            let id = CommandId::parse(&format!("command-{number:010}")).unwrap();
            Prepared::new(Account::at((number % ACCOUNTS).to_string()), command).id(id)
        });
        // One after the other: an account is opened before anything else happens to it.
        let settled = self.client.send_all(stream::iter(commands), 8).collect::<Vec<_>>();
        let settled = tokio::time::timeout(PATIENCE, settled).await.expect("everything is settled in time");
        settled.into_iter().for_each(|(_, outcome)| drop(outcome.unwrap()));
    }

    /// Waits until the feed of the one partition has so many commits.
    async fn until_fed(&self, commits: u64) {
        let is_fed = |output: &Output| {
            let health: Value = serde_json::from_str(stdout(output)).unwrap_or_default();
            let partition = &health["partitions"][0];
            partition["durable"] == commits && partition["unfed"] == 0
        };
        let fed = async {
            while !is_fed(&run(&["health", "--json", "--server", &self.nats.url()])) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, fed).await.expect("the feed gets everything");
    }

    /// What the owners have, from the accounts' own states.
    pub(crate) async fn expected(&self) -> BTreeMap<&'static str, i128> {
        let mut balances = BTreeMap::new();
        for account in 0..ACCOUNTS {
            let state = self.client.state(Account::at(account.to_string())).await.unwrap().state;
            *balances.entry(owner_of(account)).or_default() += i128::from(state.balance);
        }
        balances
    }

    pub(crate) fn project(&self, kept: &Path, more: &[&str]) -> Running {
        project(&self.nats.url(), kept, more)
    }

    pub(crate) fn ask(&self, more: &[&str]) -> Output {
        run(&[&["ask", "balances", "--server", &self.nats.url(), "--principal", "alice"], more].concat())
    }

    pub(crate) fn answer(&self, more: &[&str]) -> Value {
        let output = self.ask(&[more, &["--json"]].concat());
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        serde_json::from_str(stdout(&output)).unwrap()
    }

    /// What any NATS client gets that asks how far it is behind.
    async fn lag_over_nats(&self) -> u64 {
        let options = async_nats::ConnectOptions::new().custom_inbox_prefix("_INBOX.alice");
        let client = options.connect(self.nats.url()).await.unwrap();
        let answer = client.request("prj.alice.balances.lag", "".into()).await.unwrap();
        serde_json::from_slice::<Value>(&answer.payload).unwrap()["lag"].as_u64().unwrap()
    }

    /// Waits until everything that is decided is folded.
    pub(crate) fn until_nothing_lags(&self, commits: u64) {
        let deadline = std::time::Instant::now() + PATIENCE;
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        loop {
            let lag = self.answer(&[]);
            let partitions = lag["partitions"].as_array().unwrap();
            let folded: u64 = partitions.iter().map(|partition| number(&partition["position"])).sum();
            if folded == commits {
                assert_eq!(lag["lag"], 0, "{lag}");
                return;
            }
            assert!(std::time::Instant::now() < deadline, "{lag} and not {commits}");
        }
    }

    /// What the owners have, as the projection says.
    pub(crate) fn balances(&self) -> BTreeMap<&'static str, i128> {
        let balance = |owner: &str| i128::from(self.answer(&[owner])["row"]["balance"].as_i64().unwrap());
        OWNERS.into_iter().map(|owner| (owner, balance(owner))).collect()
    }
}

fn project(url: &str, kept: &Path, more: &[&str]) -> Running {
    let mut command = hapax(&["project", "balances", "--server", url]);
    let in_memory = more.contains(&"--in-memory");
    if !in_memory {
        command.arg("--data").arg(kept);
    }
    let mut running = Running::start(command.args(more));
    running.until("ready");
    running
}

/// The program is killed again and again while it folds. What it says in the end is what the accounts hold; so it is folded
/// from the first commit, and in memory.
async fn balances_are_what_the_accounts_hold(partitions: u32) {
    const PIECE: u64 = 150;
    let (site, kept) = (Site::start(partitions).await, tempfile::tempdir().unwrap());
    site.load(0, ACCOUNTS).await;
    let mut sent = ACCOUNTS;
    for pause in [0, 20, 60] {
        let projecting = site.project(kept.path(), &[]);
        let killing = async {
            tokio::time::sleep(Duration::from_millis(pause)).await; // The point of the kill.
            projecting.signal("KILL");
            projecting.wait();
        };
        tokio::join!(site.load(sent, PIECE), killing);
        sent += PIECE;
    }
    let expected = site.expected().await;
    for more in [&[][..], &["--rebuild"], &["--in-memory"]] {
        let projecting = site.project(kept.path(), more);
        site.until_nothing_lags(sent);
        assert_eq!(site.balances(), expected, "{more:?}");
        projecting.stop();
    }
    site.processor.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn balances_are_what_the_accounts_hold_in_one_partition() {
    balances_are_what_the_accounts_hold(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn balances_are_what_the_accounts_hold_in_two_partitions() {
    balances_are_what_the_accounts_hold(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_of_another_store_is_refused() {
    let (site, kept) = (Site::start(1).await, tempfile::tempdir().unwrap());
    site.load(0, ACCOUNTS).await;
    let projecting = site.project(kept.path(), &[]);
    site.until_nothing_lags(ACCOUNTS);
    projecting.stop();
    site.processor.stop().await;
    let other = Site::start(1).await;
    other.load(0, 2 * ACCOUNTS).await;
    let path = kept.path().display().to_string();
    let refused = run(&["project", "balances", "--data", &path, "--server", &other.nats.url()]);
    assert_eq!(code(&refused), 1);
    assert!(stderr(&refused).contains("and this is the feed of store"), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("fold it from this feed with --rebuild"), "{}", stderr(&refused));
    let projecting = other.project(kept.path(), &["--rebuild"]);
    other.until_nothing_lags(2 * ACCOUNTS);
    assert_eq!(other.balances(), other.expected().await);
    projecting.stop();
    // An older copy of this store, and a feed that was made from it anew.
    other.processor.stop().await;
    let jetstream = async_nats::jetstream::new(other.nats.client().await);
    jetstream.delete_stream("EVENTS_0").await.unwrap();
    let refused = run(&["project", "balances", "--data", &path, "--server", &other.nats.url()]);
    assert_eq!(code(&refused), 1);
    assert!(stderr(&refused).contains("there is no stream EVENTS_0 on this server"), "{}", stderr(&refused));
    drop((site.data, other.data));
}

/// While nothing of the feed gets through, it is behind and says how far, and shows no row that is older than its start.
#[tokio::test(flavor = "multi_thread")]
async fn how_far_it_is_behind_is_told() {
    let (site, kept) = (Site::start(1).await, tempfile::tempdir().unwrap());
    site.load(0, ACCOUNTS).await;
    site.until_fed(ACCOUNTS).await; // Where the feed is when the projection starts is how far it must come.
    let proxy = Proxy::start(site.nats.port()).await;
    proxy.withhold(&["$JS.API.CONSUMER."]);
    let mut command = hapax(&["project", "balances", "--server", &proxy.url(), "--data"]);
    let mut projecting = Running::start(command.arg(kept.path()));
    proxy.until_withheld("$JS.API.CONSUMER.", 1).await; // Then it hears questions, or soon.
    let behind = json!([{"partition": 0, "position": null, "last": ACCOUNTS, "lag": ACCOUNTS}]);
    let is_told = async {
        loop {
            let output = site.ask(&["--json"]);
            let answer: Value = serde_json::from_str(stdout(&output)).unwrap_or_default();
            if answer["partitions"] == behind {
                break answer["lag"].clone();
            }
            tokio::task::yield_now().await;
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, is_told).await.expect("it answers"), ACCOUNTS);
    // With every commit that the feed gets it is further behind, for a person and for any program with a NATS client.
    let all = ACCOUNTS + 5;
    site.load(ACCOUNTS, 5).await;
    site.until_fed(all).await;
    let told = site.ask(&[]);
    let rows = [format!("lag         {all}"), format!("partition   0 at position 0 of {all}")];
    assert!(rows.iter().all(|row| stdout(&told).lines().any(|line| line == row)), "{}", stdout(&told));
    assert_eq!(site.lag_over_nats().await, all);
    let refused = site.ask(&["ann"]);
    assert_eq!(code(&refused), 1);
    assert!(
        stderr(&refused).contains("refused (503 unavailable): the projection is being folded"),
        "{}",
        stderr(&refused)
    );
    proxy.withhold(&[]);
    projecting.until("ready");
    site.until_nothing_lags(all);
    assert_eq!(site.lag_over_nats().await, 0);
    assert_eq!(site.answer(&["nobody"])["row"], Value::Null);
    assert_eq!(site.answer(&["ann"])["row"]["accounts"], 4);
    assert_eq!(site.balances(), site.expected().await);
    projecting.stop();
    let gone = site.ask(&["ann"]);
    assert!(stderr(&gone).contains("is `hapax project balances` running"), "{}", stderr(&gone));
    site.processor.stop().await;
}

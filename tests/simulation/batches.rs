//! Clients that send batches: each for itself or all or none, with checks, across the accounts of a run.

use bytes::Bytes;
use hapax::model::limits::{ATOMIC_COMMANDS_MAX, BATCH_ITEMS_MAX};
use hapax::model::{AggregateId, AggregateType, CommandName, Key};
use rand::Rng;

use crate::clients::{Errand, account};
use crate::common::history::Sent;
use crate::run::Run;

/// Commands of most batches, at most: many small ones tear and interleave in more ways than a few large ones.
const ITEMS_MAX: usize = 6;

/// Of so many batches, one has as many commands as are allowed, and one has one more.
const BATCHES_OF_ALL_SIZES: usize = 3_000;

/// A command in a batch, as one that is sent alone.
fn item(Sent { identity, aggregate, name, expected, body, .. }: &Sent) -> String {
    let expected = expected.map_or(String::new(), |version| format!(r#","expected_version":{version}"#));
    let data = if body.is_empty() { "{}".into() } else { String::from_utf8_lossy(body) };
    let AggregateId { kind, key } = aggregate;
    format!(
        r#"{{"id":"{}","aggregate":"{kind}","key":"{key}","command":"{name}"{expected},"data":{data}}}"#,
        identity.id
    )
}

fn check(AggregateId { kind, key }: &AggregateId, version: u64) -> String {
    format!(r#"{{"check":{{"aggregate":"{kind}","key":"{key}","version":{version}}}}}"#)
}

impl Run {
    /// A batch of a client, under an id of its own, and the commands in it.
    pub(crate) fn new_batch(&mut self, client: usize) -> (Sent, Vec<Sent>) {
        let atomic = self.random.gen_bool(0.6);
        let mut commands = if atomic && self.keys > 1 && self.random.gen_bool(0.4) {
            self.transfer(client)
        } else {
            let count = self.batch_size(atomic);
            (0..count).map(|_| self.new_command(client)).collect()
        };
        self.to_issue = self.to_issue.saturating_sub(commands.len() - 1);
        if self.random.gen_bool(0.1)
            && let Some(known) = self.earlier_command(client)
        {
            // A command that was sent before, alone or in another batch.
            commands.insert(self.random.gen_range(0..=commands.len()), known);
        }
        let mut items: Vec<String> = commands.iter().map(item).collect();
        if self.random.gen_bool(0.03) {
            items.push(items[0].clone()); // An id twice.
        }
        if atomic && self.random.gen_bool(0.4) {
            let aggregate = account(self.random.gen_range(0..self.keys));
            let version = self.seen.get(&aggregate).copied().unwrap_or(0);
            items.insert(self.random.gen_range(0..=items.len()), check(&aggregate, version));
            self.fired.shown("a batch has a check", 1);
        }
        self.fired.shown(if atomic { "an atomic batch is begun" } else { "a batch each for itself is begun" }, 1);
        let key = Key::parse(&self.random.gen_range(0..self.keys).to_string()).unwrap();
        let identity = self.new_identity(client, key.clone());
        let not_after = commands[0].not_after;
        let body = format!(r#"{{"atomic":{atomic},"commands":[{}]}}"#, items.join(","));
        let sent = Sent {
            identity,
            aggregate: AggregateId { kind: AggregateType::parse("_batch").unwrap(), key },
            name: CommandName::parse(CommandName::RUN).unwrap(),
            expected: None,
            not_after,
            body: body.into(),
            reply_to: None,
        };
        (sent, commands)
    }

    fn batch_size(&mut self, atomic: bool) -> usize {
        let most = if atomic { ATOMIC_COMMANDS_MAX } else { BATCH_ITEMS_MAX };
        match self.random.gen_range(0..BATCHES_OF_ALL_SIZES) {
            0 => {
                self.fired.shown("a batch has as many commands as are allowed", 1);
                most
            }
            1 => {
                self.fired.shown("a batch has one command too many", 1);
                most + 1
            }
            _ => self.random.gen_range(1..=ITEMS_MAX),
        }
    }

    /// What is taken from one account is put into another.
    fn transfer(&mut self, client: usize) -> Vec<Sent> {
        let source = self.random.gen_range(0..self.keys);
        let target = (source + self.random.gen_range(1..self.keys)) % self.keys;
        let amount = self.random.gen_range(1..30);
        let mut command = |key: usize, name: &str| {
            let aggregate = account(key);
            Sent {
                identity: self.new_identity(client, aggregate.key.clone()),
                aggregate,
                name: CommandName::parse(name).unwrap(),
                expected: None,
                not_after: None,
                body: Bytes::from(format!(r#"{{"amount":{amount}}}"#)),
                reply_to: None,
            }
        };
        vec![command(source, "withdraw"), command(target, "deposit")]
    }

    /// A command that a client has sent before and that is no batch.
    fn earlier_command(&mut self, client: usize) -> Option<Sent> {
        let is_one = |errand: &&Errand| errand.client == client && !errand.is_batch();
        let own: Vec<&Errand> = self.errands.iter().filter(is_one).collect();
        let chosen = self.random.gen_range(0..own.len().max(1));
        Some(own.get(chosen)?.sent.clone())
    }
}

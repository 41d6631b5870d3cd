//! The feed as any reader of the stream sees it, and whether it is the store. Read without anything of the library's.

use std::path::Path;

use async_nats::jetstream;
use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use bytes::Bytes;
use futures::StreamExt;
use hapax::Position;
use hapax::model::Commit;
use hapax::model::limits::PULL_BYTES_MAX;
use hapax::serve::DataDir;
use hapax::store::CommitReader;
use hapax::store::file::FileReader;

/// A message of the feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fed {
    pub sequence: u64,
    pub subject: String,
    /// As it is written.
    pub chain_hash: String,
    pub traceparent: Option<String>,
    pub body: Bytes,
}

/// The messages of a partition's feed, as they are now.
pub async fn feed_messages(client: &async_nats::Client, partition: u32) -> Vec<jetstream::Message> {
    let stream = jetstream::new(client.clone()).get_stream(format!("EVENTS_{partition}")).await.unwrap();
    let count = stream.cached_info().state.messages;
    let config: pull::Config = pull::OrderedConfig { deliver_policy: DeliverPolicy::All, ..Default::default() }.into();
    let consumer = stream.create_consumer(config).await.unwrap();
    let messages = consumer.stream().max_bytes_per_batch(PULL_BYTES_MAX).messages().await.unwrap();
    messages.take(usize::try_from(count).unwrap()).map(Result::unwrap).collect().await
}

/// Everything that a partition's feed holds now.
pub async fn read_feed(client: &async_nats::Client, partition: u32) -> Vec<Fed> {
    let fed = feed_messages(client, partition).await.into_iter().map(|message| {
        let header = |name: &str| Some(message.headers.as_ref()?.get(name)?.as_str().to_owned());
        Fed {
            sequence: message.info().unwrap().stream_sequence,
            subject: message.subject.to_string(),
            chain_hash: header("Hapax-Chain-Hash").unwrap_or_default(),
            traceparent: header("traceparent"),
            body: message.payload.clone(),
        }
    });
    fed.collect()
}

/// All commits of a partition's store.
pub fn read_store(data: &Path, partition: u32) -> Vec<Commit> {
    let journal = DataDir::open(data).unwrap().journal_dir(partition);
    FileReader::open_read_only(&journal).unwrap().read(Position::FIRST).collect::<Result<_, _>>().unwrap()
}

/// Checks that the feed is the store, number by number, and returns how many commits that are.
pub async fn feed_is_store(client: &async_nats::Client, data: &Path, partition: u32) -> usize {
    let (fed, commits) = (read_feed(client, partition).await, read_store(data, partition));
    for (commit, fed) in commits.iter().zip(&fed) {
        let position = commit.position.get();
        assert_eq!((fed.sequence, &fed.body), (position, commit.json()));
        assert_eq!(fed.chain_hash, commit.hash.to_string(), "at {position}");
        assert_eq!(fed.traceparent, commit.command.traceparent, "at {position}");
        let json: serde_json::Value = serde_json::from_slice(commit.json()).unwrap();
        let kind = if json["outcome"]["status"] == "accepted" { "evt" } else { "rej" };
        let (aggregate, key) = (&json["outcome"]["aggregate"], &json["outcome"]["key"]);
        let subject = format!("{kind}.{partition}.{}.{}", aggregate.as_str().unwrap(), key.as_str().unwrap());
        assert_eq!(fed.subject, subject);
    }
    assert_eq!(fed.len(), commits.len());
    commits.len()
}

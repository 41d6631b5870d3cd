//! The streams that hold the feed: `EVENTS_<p>` for each partition. They name their store and its number of partitions, so
//! that a lost data directory can be made again from them alone.

use std::collections::HashMap;

use async_nats::jetstream;
use async_nats::jetstream::stream::{self, DiscardPolicy, RetentionPolicy, StorageType};
use uuid::Uuid;

use super::{
    DUPLICATE_WINDOW, ProvisionError, STORE_METADATA, find_or_create_stream, find_stream, refuse, stream_drifts,
};

/// The member of a stream's metadata that names the number of partitions of its store.
const PARTITIONS_METADATA: &str = "hapax_partitions";

/// The stream of a partition's feed.
pub fn stream_name(partition: u32) -> String {
    format!("EVENTS_{partition}")
}

/// What must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// How many partitions there are.
    pub partitions: u32,
    /// The store that is fed.
    pub store: Uuid,
    /// Whether what is missing may be created.
    pub create: bool,
    /// Whether there was a feed of this store, so that one that is missing is lost and not new.
    pub had: bool,
}

/// Checks the streams of the feed, and creates what is missing if it may: the names of those.
///
/// # Errors
/// [`ProvisionError`]. Nothing that exists has then been changed.
pub async fn check_or_create(context: &jetstream::Context, wanted: &Wanted) -> Result<Vec<String>, ProvisionError> {
    let mut created = Vec::new();
    for partition in 0..wanted.partitions {
        let name = stream_name(partition);
        if wanted.had && find_stream(context, &name).await?.is_none() {
            return Err(ProvisionError::FeedLost { stream: name });
        }
        let config = config(partition, wanted);
        let (found, is_new) = find_or_create_stream(context, &name, &config, wanted.create).await?;
        // Before its settings: those of another store's feed are nobody's fault.
        if store_of(&found) != Some((wanted.store, wanted.partitions)) {
            let said = |member| found.metadata.get(member).map_or("unknown", String::as_str);
            let said = format!("the store {} with {} partition(s)", said(STORE_METADATA), said(PARTITIONS_METADATA));
            let Wanted { store, partitions, .. } = *wanted;
            return Err(ProvisionError::ForeignFeed { stream: name, found: said, wanted: store, partitions });
        }
        refuse(stream_drifts(&config, &found))?;
        created.extend(is_new.then_some(name));
    }
    Ok(created)
}

/// Which store a stream holds the feed of, and how many partitions that has; `None`: it does not say so.
pub fn store_of(config: &stream::Config) -> Option<(Uuid, u32)> {
    let store = config.metadata.get(STORE_METADATA)?.parse().ok()?;
    Some((store, config.metadata.get(PARTITIONS_METADATA)?.parse().ok()?))
}

fn config(partition: u32, wanted: &Wanted) -> stream::Config {
    stream::Config {
        name: stream_name(partition),
        description: Some("the feed: every commit of a partition, at its position".into()),
        subjects: vec![format!("evt.{partition}.*.*"), format!("rej.{partition}.*.*")],
        // Nothing may ever leave it: what is missing would shift nothing, and be missed by every reader.
        retention: RetentionPolicy::Limits,
        storage: StorageType::File,
        discard: DiscardPolicy::New,
        max_bytes: -1,
        max_messages: -1,
        max_messages_per_subject: -1,
        max_message_size: -1,
        duplicate_window: DUPLICATE_WINDOW,
        deny_delete: true,
        deny_purge: true,
        // An atomic batch comes whole.
        allow_atomic_publish: true,
        num_replicas: 1,
        metadata: HashMap::from([
            (STORE_METADATA.into(), wanted.store.to_string()),
            (PARTITIONS_METADATA.into(), wanted.partitions.to_string()),
        ]),
        ..stream::Config::default()
    }
}

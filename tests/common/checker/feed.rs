//! What the feed holds: I18.

use sha2::{Digest, Sha256};

use super::Case;
use crate::common::feed::Fed;

/// The feed, read back.
#[derive(Debug, Clone, Copy)]
pub struct Feed<'a> {
    pub messages: &'a [Fed],
    /// Whether it had the time to come to where the store is.
    pub is_whole: bool,
}

pub(super) fn feed_is_store(case: &Case<'_>) -> Result<u64, String> {
    let Some(Feed { messages, is_whole }) = case.evidence.feed else { return Ok(0) };
    let mut hash: [u8; 32] = Sha256::digest(case.evidence.id.store.hyphenated().to_string()).into();
    for (index, fed) in messages.iter().enumerate() {
        let position = index as u64 + 1;
        if fed.sequence != position {
            return Err(format!("message {} stands where {position} belongs", fed.sequence));
        }
        let Some(record) = case.records.get(index) else {
            return Err(format!("the feed has position {position}, and the store has not"));
        };
        if fed.body != record.json {
            return Err(format!("position {position} is another commit in the feed"));
        }
        hash = Sha256::new().chain_update(hash).chain_update(&fed.body).finalize().into();
        if fed.chain_hash != hash.map(|byte| format!("{byte:02x}")).concat() {
            return Err(format!("position {position} of the feed names another chain hash"));
        }
        let kind = if record.status == "accepted" { "evt" } else { "rej" };
        let (partition, aggregate) = (case.evidence.id.partition, &record.aggregate);
        if fed.subject != format!("{kind}.{partition}.{}.{}", aggregate.kind, aggregate.key) {
            return Err(format!("position {position} is in the feed as {}", fed.subject));
        }
    }
    let behind = case.head_of.get(messages.len()).copied().flatten();
    if behind.is_some_and(|head| head < messages.len()) {
        return Err(format!("the feed ends in an atomic batch, at position {}", messages.len()));
    }
    if is_whole && messages.len() != case.records.len() {
        return Err(format!("the feed ends at position {}, the store at {}", messages.len(), case.records.len()));
    }
    Ok(messages.len() as u64)
}

//! Does the stream hold commands that no consumer gets? The server stores some subjects that match no filter: those with a
//! DEL (0x7f) in a token, for example, which no sender of ours can make and any raw publisher can. They are never
//! delivered, and the stream that denies deletion keeps them. They do no harm, but they take room.

use async_nats::jetstream;
use async_nats::jetstream::consumer::PullConsumer;

use super::provision::{COMMANDS, consumer_name};

/// How many there are; `None`: commands come and go, so that nobody can say.
///
/// # Errors
/// The broker did not answer.
pub async fn stranded(context: &jetstream::Context, partitions: u32) -> Result<Option<u64>, async_nats::Error> {
    let stream = context.get_stream(COMMANDS).await?;
    let before = stream.cached_info().state.clone();
    let mut waiting = 0;
    for partition in 0..partitions {
        let consumer: PullConsumer = stream.get_consumer(&consumer_name(partition)).await?;
        let info = consumer.cached_info();
        waiting += info.num_pending + info.num_ack_pending as u64;
    }
    let after = context.get_stream(COMMANDS).await?.cached_info().state.clone();
    // The same number of messages and the same last one: in between nothing came and nothing left.
    let stood_still = (before.messages, before.last_sequence) == (after.messages, after.last_sequence);
    Ok(stood_still.then(|| before.messages.saturating_sub(waiting)))
}

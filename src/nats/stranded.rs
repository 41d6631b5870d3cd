//! Does the stream hold commands that no consumer gets? There are two kinds:
//! * The server stores some subjects that match no filter: those with a DEL (0x7f) in a token, for example, which no sender
//!   of ours can make and any raw publisher can. They are never delivered, and the stream that denies deletion keeps them.
//!   They do no harm, but they take room.
//! * The server notes an acknowledgement at the consumer first, and removes the message then (2.15.1: `processAckMsgLocked`
//!   in its `consumer.go`; `ackMsg` in its `stream.go` removes nothing from a stream that is being closed). Stopped in
//!   between it keeps the message, and on a single server nothing looks for it again. A consumer that is made anew gets
//!   everything that is left, and whoever has an outcome already gets that one again.

use async_nats::jetstream;
use async_nats::jetstream::consumer::PullConsumer;

use super::provision::{COMMANDS, Wanted, consumer_name, is_of};
use super::stored;

/// What no consumer gets.
#[derive(Debug)]
pub struct Stranded {
    /// How many messages.
    pub messages: u64,
    /// The consumers of this store that count some of them as acknowledged, by name.
    pub passed_by: Vec<String>,
}

/// Looks for it; `None`: commands come and go, so that nobody can say.
///
/// # Errors
/// The broker did not answer.
pub async fn stranded(context: &jetstream::Context, wanted: &Wanted) -> Result<Option<Stranded>, async_nats::Error> {
    let stream = context.get_stream(COMMANDS).await?;
    let before = stream.cached_info().state.clone();
    let mut consumers: Vec<PullConsumer> = Vec::new();
    for partition in 0..wanted.partitions {
        consumers.push(stream.get_consumer(&consumer_name(partition)).await?);
    }
    let after = context.get_stream(COMMANDS).await?.cached_info().state.clone();
    // The same number of messages and the same last one: in between nothing came and nothing left.
    if (before.messages, before.last_sequence) != (after.messages, after.last_sequence) {
        return Ok(None);
    }
    let infos = consumers.iter().map(PullConsumer::cached_info);
    let waiting: u64 = infos.map(|info| info.num_pending + info.num_ack_pending as u64).sum();
    let mut stranded = Stranded { messages: before.messages.saturating_sub(waiting), passed_by: Vec::new() };
    if stranded.messages > 0 {
        for consumer in consumers.iter().filter(|consumer| is_of(consumer, wanted.store)) {
            let info = consumer.cached_info();
            let first = stored::next(context, COMMANDS, &info.config.filter_subject, 1).await?;
            if first.is_some_and(|first| first.sequence <= info.ack_floor.stream_sequence) {
                stranded.passed_by.push(info.name.clone());
            }
        }
    }
    Ok(Some(stranded))
}

/// Deletes a consumer that has passed messages by. Whoever pulls from it makes it anew.
///
/// # Errors
/// The broker did not do it.
pub async fn delete_consumer(context: &jetstream::Context, name: &str) -> Result<(), async_nats::Error> {
    tracing::warn!(consumer = name, "the broker has kept commands that are acknowledged; their consumer is made anew");
    context.delete_consumer_from_stream(name, COMMANDS).await?;
    Ok(())
}

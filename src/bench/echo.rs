//! The floor: a processor that only replies and acknowledges. It decides nothing, stores nothing and knows nothing.

use bytes::Bytes;

use super::answering::{AnswerError, Answering, settle};
use crate::nats::ConnectOptions;

/// Answers every command of one partition with a reply of `reply_bytes`, until the connection ends. Over the connections
/// that a processor has.
///
/// # Errors
/// [`AnswerError`].
pub async fn echo(options: ConnectOptions, reply_bytes: usize, ready: impl FnOnce()) -> Result<(), AnswerError> {
    let Answering { mut deliveries, sender, .. } = Answering::open(options).await?;
    let reply = Bytes::from(vec![b'x'; reply_bytes]);
    ready();
    loop {
        for message in deliveries.pull().await? {
            settle(&sender, message, reply.clone()).await?;
        }
    }
}

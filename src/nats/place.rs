//! Can a consumer stand where it says? After a power cut of the broker it may not:
//! 1. A broker that does not sync each message has neither stream nor consumer safe on disk. The power goes.
//! 2. The stream comes back shorter, or empty; the consumer comes back as it was, or is made again from what its folder
//!    still holds. It has then delivered more than the stream has ever had.
//! 3. New commands get the numbers of those that were lost. The consumer takes them for delivered and gives them to
//!    nobody, while streams, connection and processor look well.
//!
//! Such a consumer is made anew. What was lost is the clients' to send again, and they do.

use async_nats::jetstream;
use async_nats::jetstream::consumer;

use super::provision::COMMANDS;

/// Whether a consumer has delivered what its stream has not had. `info` must have been asked for before: a stream grows.
pub(super) async fn is_beyond_its_stream(
    context: &jetstream::Context,
    info: &consumer::Info,
) -> Result<bool, async_nats::Error> {
    let stream = context.get_stream(COMMANDS).await?;
    Ok(stream.cached_info().state.last_sequence < info.delivered.stream_sequence)
}

//! The floor: a processor that only replies and acknowledges. It decides nothing, stores nothing and knows nothing.

use bytes::Bytes;
use uuid::Uuid;

use crate::model::header;
use crate::nats::deliver::{DeliverError, Deliveries};
use crate::nats::provision::{ProvisionError, Wanted, check_or_create};
use crate::nats::sender::{SendError, Sender};
use crate::nats::{ConnectError, ConnectOptions, connect};

/// Why the echo ended.
#[derive(Debug, thiserror::Error)]
pub enum EchoError {
    /// The broker cannot be used.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The streams cannot be used.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    /// There is nothing more to pull.
    #[error(transparent)]
    Deliver(#[from] DeliverError),
    /// A reply or an acknowledgement cannot be sent.
    #[error(transparent)]
    Send(#[from] SendError),
}

/// Answers every command of one partition with a reply of `reply_bytes`, until the connection ends. Over the connections
/// that a processor has.
///
/// # Errors
/// [`EchoError`].
pub async fn echo(options: ConnectOptions, reply_bytes: usize, ready: impl FnOnce()) -> Result<(), EchoError> {
    let client = connect(&options).await?;
    let context = options.jetstream(client.clone());
    let wanted = Wanted { partitions: 1, store: Uuid::now_v7(), create: true, take_over: true };
    let provisioned = check_or_create(&context, &wanted).await?;
    let sender = Sender::new(client);
    let reply = Bytes::from(vec![b'x'; reply_bytes]);
    if let Some(consumer) = provisioned.consumers.into_iter().next() {
        let mut deliveries = Deliveries::new(options, context.clone(), consumer, 0);
        ready();
        loop {
            for message in deliveries.pull().await? {
                let inbox = message.headers.into_iter().find(|(name, _)| *name == header::REPLY_TO);
                if let Some((_, inbox)) = inbox {
                    sender.reply(inbox, reply.clone(), false).await?;
                }
                sender.ack(message.ack).await?;
            }
        }
    }
    Ok(())
}

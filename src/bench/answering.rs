//! What those who answer instead of the processor have in common: its streams, its connections, its way to reply.

use bytes::Bytes;
use uuid::Uuid;

use crate::model::header;
use crate::nats::deliver::{DeliverError, Deliveries};
use crate::nats::message::Message;
use crate::nats::provision::{ProvisionError, Wanted, check_or_create};
use crate::nats::sender::{SendError, Sender};
use crate::nats::suspects::Suspects;
use crate::nats::{ConnectError, ConnectOptions, connect};

/// Why nothing is answered any more.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
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
    /// An event cannot be published, or the stream did not take it.
    #[error("an event is not in its stream")]
    Event(#[source] async_nats::Error),
    /// A command that none of our clients sends.
    #[error("a command cannot be read")]
    Unreadable(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The one partition of an empty broker, with the connections that a processor has.
pub(super) struct Answering {
    pub(super) deliveries: Deliveries,
    pub(super) sender: Sender,
    pub(super) context: async_nats::jetstream::Context,
}

impl Answering {
    pub(super) async fn open(options: ConnectOptions) -> Result<Answering, AnswerError> {
        let context = options.jetstream(connect(&options).await?);
        let sender = Sender::new(connect(&options).await?);
        let wanted = Wanted { partitions: 1, store: Uuid::now_v7(), create: true, take_over: false };
        let provisioned = check_or_create(&context, &wanted).await?;
        let consumer = provisioned.consumers.into_iter().next().expect("one partition has one consumer");
        let deliveries = Deliveries::new(options, context.clone(), consumer, 0, Suspects::none());
        Ok(Answering { deliveries, sender, context })
    }
}

/// The header of a command that says where its outcome goes, or which id it has.
pub(super) fn header_of(message: &Message, name: &str) -> Option<String> {
    message.headers.iter().find(|(found, _)| *found == name).map(|(_, value)| value.clone())
}

/// Replies, and then acknowledges.
pub(super) async fn settle(sender: &Sender, message: Message, reply: Bytes) -> Result<(), SendError> {
    if let Some(inbox) = header_of(&message, header::REPLY_TO) {
        sender.reply(inbox, reply, false).await?;
    }
    sender.ack(message.ack).await
}

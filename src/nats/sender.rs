//! How do answers go out? [`Sender`] publishes replies and acknowledgements.

use std::time::Duration;

use async_nats::client::PublishErrorKind;
use async_nats::{Client, HeaderMap, Subject};
use bytes::Bytes;

use crate::model::header;

/// How long a farewell may take until everything queued has left.
const FLUSH_MAX: Duration = Duration::from_secs(5);

/// Why something could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// Larger than the server takes. The outcome can still be asked for.
    #[error("larger than the server's max_payload")]
    TooLarge,
    /// Not a subject. Nobody can be told.
    #[error("not a subject that can be published to")]
    Subject,
    /// The client's connection task has ended. Connect anew.
    #[error("the connection to the broker has ended for good")]
    ClientGone,
}

/// Where the replies and acknowledgements of a partition go out. Everything is only queued: a reply over core NATS is at
/// most once anyhow, and an acknowledgement that is lost means a redelivery, which is harmless. While the connection is
/// down the queue fills, and then these calls wait.
#[derive(Debug, Clone)]
pub struct Sender {
    client: Client,
}

impl Sender {
    /// Sends over this connection, which nobody else should need: [`close`](Sender::close) ends it.
    pub fn new(client: Client) -> Sender {
        Sender { client }
    }

    /// Waits until what is queued has left, a few seconds at most, and ends the connection.
    pub async fn close(self) {
        let _ = tokio::time::timeout(FLUSH_MAX, self.client.flush()).await;
        let _ = self.client.drain().await;
    }

    /// Answers a sender. `replayed`: an earlier delivery has decided what this says.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn reply(&self, subject: String, payload: Bytes, replayed: bool) -> Result<(), SendError> {
        let sent = if replayed {
            let mut headers = HeaderMap::new();
            headers.insert(header::REPLAYED, header::TRUE);
            self.client.publish_with_headers(subject, headers, payload).await
        } else {
            self.client.publish(subject, payload).await
        };
        sent.map_err(send_error)
    }

    /// Tells the broker that a command is done with, and need not be delivered again.
    ///
    /// # Errors
    /// [`SendError`].
    pub async fn ack(&self, ack: Subject) -> Result<(), SendError> {
        self.client.publish(ack, Bytes::from_static(b"+ACK")).await.map_err(send_error)
    }
}

fn send_error(error: async_nats::PublishError) -> SendError {
    match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => SendError::TooLarge,
        PublishErrorKind::InvalidSubject => SendError::Subject,
        PublishErrorKind::Send => SendError::ClientGone,
    }
}

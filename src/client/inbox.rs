//! Where replies come in: one subscription for all of them, made and known to the server before anything is published,
//! so that no reply can come too early.
//!
//! Each thing that is waited for has a subject of its own below it, `_INBOX.<principal>.<connection>.<token>`. A PubAck
//! and an outcome for the same command have different tokens, so neither can be taken for the other.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::{Message, Subscriber};
use futures::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::error::ConnectError;
use crate::model::Principal;
use crate::model::limits::IN_FLIGHT_COMMANDS_MAX;

/// Messages that async-nats holds for one subscription; what comes then is dropped.
const SUBSCRIPTION_MESSAGES_MAX: usize = 65_536;

// Whatever is under way may be answered at once: an outcome, a PubAck and an outcome query each.
const _: () = assert!(3 * IN_FLIGHT_COMMANDS_MAX <= SUBSCRIPTION_MESSAGES_MAX);

/// The shared inbox of a client.
#[derive(Debug)]
pub(super) struct Inbox {
    prefix: String,
    last_token: AtomicU64,
    waiting: Arc<Waiting>,
    room: Arc<Semaphore>,
    _delivery: AbortOnDropHandle<()>,
}

/// Who waits for which token; `None` once the subscription has ended.
#[derive(Debug)]
struct Waiting(Mutex<Option<HashMap<u64, oneshot::Sender<Message>>>>);

impl Waiting {
    fn lock(&self) -> MutexGuard<'_, Option<HashMap<u64, oneshot::Sender<Message>>>> {
        // Nobody panics while holding it; and if so, a map of senders has no half-done state.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inbox {
    /// Subscribes, and comes back when the server has the subscription.
    pub(super) async fn open(nats: &async_nats::Client, principal: &Principal) -> Result<Inbox, ConnectError> {
        let prefix = format!("_INBOX.{principal}.{}.", Uuid::now_v7().simple());
        let subscription = nats.subscribe(format!("{prefix}*")).await.map_err(ConnectError::Subscribe)?;
        nats.flush().await.map_err(ConnectError::Flush)?;
        let waiting = Arc::new(Waiting(Mutex::new(Some(HashMap::new()))));
        let delivery = tokio::spawn(deliver(subscription, Arc::clone(&waiting)));
        Ok(Inbox {
            prefix,
            last_token: AtomicU64::new(0),
            waiting,
            room: Arc::new(Semaphore::new(IN_FLIGHT_COMMANDS_MAX)),
            _delivery: AbortOnDropHandle::new(delivery),
        })
    }

    /// Waits until one more command or query may be under way.
    pub(super) async fn room(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.room).acquire_owned().await.expect("the semaphore is never closed")
    }

    /// A subject of its own to be answered at.
    pub(super) fn ticket(&self) -> Ticket {
        // Relaxed: only that no number comes twice matters.
        let token = self.last_token.fetch_add(1, Ordering::Relaxed);
        let mut ticket = Ticket {
            subject: format!("{}{token}", self.prefix),
            token,
            waiting: Arc::clone(&self.waiting),
            next: None,
        };
        ticket.arm();
        ticket
    }
}

/// Hands each message to the one who waits for its token. Ends with the subscription; who still waits is then told so.
async fn deliver(mut subscription: Subscriber, waiting: Arc<Waiting>) {
    while let Some(message) = subscription.next().await {
        let token = message.subject.rsplit('.').next().and_then(|token| token.parse().ok());
        let receiver = token.and_then(|token: u64| waiting.lock().as_mut()?.remove(&token));
        // Nobody waits any more: the reply is recorded, and can be asked for.
        if let Some(receiver) = receiver {
            let _nobody = receiver.send(message);
        }
    }
    *waiting.lock() = None;
}

/// The right to what comes in at one subject.
#[derive(Debug)]
pub(super) struct Ticket {
    subject: String,
    token: u64,
    waiting: Arc<Waiting>,
    next: Option<oneshot::Receiver<Message>>,
}

impl Ticket {
    /// Where it is waited.
    pub(super) fn subject(&self) -> &str {
        &self.subject
    }

    /// The inbox as it is subscribed to.
    pub(super) fn inbox(&self) -> &str {
        let token = self.subject.rfind('.').expect("the token stands behind a dot");
        &self.subject[..token]
    }

    /// The next message; `None`: there will be none, the connection has ended for good. Nothing is lost if the future
    /// is dropped.
    pub(super) async fn next(&mut self) -> Option<Message> {
        if self.next.is_none() {
            self.arm();
        }
        let message = self.next.as_mut()?.await.ok();
        self.next = None;
        message
    }

    fn arm(&mut self) {
        let (sender, receiver) = oneshot::channel();
        if let Some(waiting) = self.waiting.lock().as_mut() {
            waiting.insert(self.token, sender);
            self.next = Some(receiver);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(waiting) = self.waiting.lock().as_mut() {
            waiting.remove(&self.token);
        }
    }
}

//! The client: sends commands and asks questions, and stays at it until it knows.
//!
//! A command that was sent may have been decided although nothing came back. So the client never guesses: on silence or
//! a lost connection it first asks for the recorded outcome, and sends the same id again only if that is unknown. What it
//! gives back is an [`Outcome`], which is final, or a [`SendError`], of which only [`SendError::Unknown`] means "I do not
//! know". Sending the same id again later is always right.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use hapax::client::{Client, Outcome};
//! use hapax::samples::{Account, AccountCommand::*};
//! use hapax::{Aggregate, Principal};
//!
//! let options = async_nats::ConnectOptions::new();
//! let client = Client::connect(options, "nats://127.0.0.1:4222", Principal::parse("alice")?).await?;
//! match client.send(Account::at("42"), Deposit { amount: 100 }).await? {
//!     Outcome::Accepted { version, .. } => println!("the account is at version {version}"),
//!     Outcome::Rejected { reason, .. } => println!("no: {reason:?}"),
//! }
//! # Ok(())
//! # }
//! ```

mod command;
mod outcome;
mod error;
mod inbox;
mod retry;
mod settle;
mod send;
mod window;
mod pack;
mod together;
mod send_all;
mod batch;
mod query;
mod update;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{ConnectOptions, Event, ToServerAddrs};
use tokio::time::Instant;

pub use batch::{Batch, BatchOutcome};
pub use command::{Prepared, RawCommand};
pub use error::{Cause, ConnectError, EncodeError, NotSent, QueryError, SendError};
pub use outcome::{Outcome, RawBatch, RawOutcome, Reason};
pub use query::{ANSWER_MAX, Known, State};
pub use send::Sending;
pub use update::{UpdateError, Updating};
pub use window::Window;

use crate::model::Principal;
use inbox::Inbox;

/// How long the client tries, if its caller does not say.
pub const DEADLINE_DEFAULT: Duration = Duration::from_secs(30);

/// A sender of commands, in the name of one principal. Clones share connection and inbox.
#[derive(Debug, Clone)]
pub struct Client {
    nats: async_nats::Client,
    principal: Principal,
    inbox: Arc<Inbox>,
    complaint: Complaint,
}

/// How many complaints are remembered. A denied command is followed by a denied question about it, and others may be
/// under way.
const COMPLAINTS_MAX: usize = 64;

/// What the server last complained about, and when. Such complaints come by themselves, not as an answer to what caused
/// them.
#[derive(Debug, Clone, Default)]
struct Complaint(Arc<Mutex<VecDeque<(Instant, String)>>>);

impl Client {
    /// Connects. The principal must be the one that NATS permissions bind to the user in `options`; an event callback in
    /// them is replaced by the client's own, which listens for denied permissions.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(
        options: ConnectOptions,
        servers: impl ToServerAddrs,
        principal: Principal,
    ) -> Result<Client, ConnectError> {
        let complaint = Complaint::default();
        let heard = complaint.clone();
        let options = options.event_callback(move |event| {
            heard.listen(event);
            std::future::ready(())
        });
        let nats = options.connect(servers).await.map_err(ConnectError::Connect)?;
        Client::over(nats, principal, complaint).await
    }

    /// The same with the settings of a command line or a NATS context, and only to a server that is recent enough.
    ///
    /// # Errors
    /// [`ConnectError`]; what the settings are to blame for is [`ConnectError::Settings`].
    pub async fn connect_with(
        settings: &crate::nats::ConnectOptions,
        principal: Principal,
    ) -> Result<Client, ConnectError> {
        let complaint = Complaint::default();
        let heard = complaint.clone();
        let nats = crate::nats::connect::connect_listening(settings, move |event| heard.listen(event)).await?;
        Client::over(nats, principal, complaint).await
    }

    /// Uses a connection that exists. Denied permissions are then not seen: they come as events to the connection's own
    /// callback, and a command that is not permitted ends as [`SendError::Unknown`].
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn new(nats: async_nats::Client, principal: Principal) -> Result<Client, ConnectError> {
        Client::over(nats, principal, Complaint::default()).await
    }

    async fn over(
        nats: async_nats::Client,
        principal: Principal,
        complaint: Complaint,
    ) -> Result<Client, ConnectError> {
        let inbox = Arc::new(Inbox::open(&nats, &principal).await?);
        Ok(Client { nats, principal, inbox, complaint })
    }

    /// In whose name it sends.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }
}

impl Complaint {
    fn listen(&self, event: Event) {
        tracing::debug!(%event, "nats");
        if let Event::ServerError(error) = event {
            let mut complaints = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            complaints.truncate(COMPLAINTS_MAX - 1);
            complaints.push_front((Instant::now(), error.to_string()));
        }
    }

    /// The last complaint about this subject or one below it, and when it came. The server names the subject in
    /// its text, and nowhere else.
    fn about(&self, subject: &str) -> Option<(Instant, String)> {
        let complaints = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_about = |(_, text): &&(Instant, String)| {
            let mut ends = text.match_indices(subject).map(|(start, _)| text[start + subject.len()..].chars().next());
            ends.any(|next| matches!(next, None | Some('.' | '"')))
        };
        complaints.iter().find(is_about).cloned()
    }
}

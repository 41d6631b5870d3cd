//! The client that is the same for all who answer: publishes messages, keeps a window of them in flight, and waits for
//! each reply. No PubAck is asked for: the reply is what counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_nats::{Client, HeaderMap, Subscriber};
use futures::{FutureExt, StreamExt};
use hdrhistogram::Histogram;
use memchr::memmem;
use tokio::sync::Notify;
use uuid::Uuid;

use super::pace::Pace;
use super::source::Message;
use crate::model::header;

/// Where no reply at all comes for so long, the one that is waited for is lost.
const REPLY_MAX: Duration = Duration::from_secs(20);

/// The shortest sleep between two commands that are due: more often than that the operating system would do little else.
const ALARM_MIN: Duration = Duration::from_micros(100);

/// Where an outcome says what it is: behind the id, which has 64 bytes at most.
const STATUS_WITHIN: usize = 128;
const ACCEPTED: &str = r#""status":"accepted""#;

/// How messages are sent.
#[derive(Debug, Clone, Copy)]
pub struct Flow {
    /// Messages in flight, at most.
    pub window: usize,
    /// Messages a second; `None`: as many as are answered.
    pub rate: Option<f64>,
    /// How long, if the messages do not end before.
    pub time: Option<Duration>,
}

/// What the answers must be. A processor that refuses everything would be very fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Whatever comes.
    Anything,
    /// An acceptance.
    Accepted,
    /// An acceptance that was recorded earlier.
    Replayed,
    /// So many acceptances in the reply to a batch.
    AllAccepted(usize),
}

impl Expect {
    fn is_met_by(self, reply: &async_nats::Message) -> bool {
        let start = reply.payload.get(..STATUS_WITHIN).unwrap_or(&reply.payload);
        let accepted = || memmem::find(start, ACCEPTED.as_bytes()).is_some();
        let replayed = || reply.headers.as_ref().is_some_and(|headers| headers.get(header::REPLAYED).is_some());
        match self {
            Expect::Anything => true,
            Expect::Accepted => accepted(),
            Expect::Replayed => accepted() && replayed(),
            Expect::AllAccepted(commands) => memmem::find_iter(&reply.payload, ACCEPTED).count() == commands,
        }
    }
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Commands that were answered.
    pub commands: u64,
    /// From the first command to the last answer.
    pub elapsed: Duration,
    /// How long each message took, in microseconds.
    latencies: Histogram<u64>,
}

impl Measured {
    /// Commands a second.
    pub fn per_second(&self) -> f64 {
        self.commands as f64 / self.elapsed.as_secs_f64()
    }

    /// This share of the messages, from 0 to 1, took no longer, in milliseconds.
    pub fn latency_ms(&self, share: f64) -> f64 {
        self.latencies.value_at_quantile(share) as f64 / 1_000.0
    }
}

/// Why a load ended early.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The connection cannot be used.
    #[error("the connection cannot be used")]
    Nats(#[source] async_nats::Error),
    /// A reply did not come.
    #[error("a reply did not come within {} s", REPLY_MAX.as_secs())]
    NoReply,
    /// A reply is not what was to be measured.
    #[error("an answer is not what was expected ({expected:?}): {reply}")]
    Unexpected {
        /// What was.
        expected: Expect,
        /// What came.
        reply: String,
    },
    /// There is no thread for the clock of a set rate.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}

fn nats(error: impl Into<async_nats::Error>) -> LoadError {
    LoadError::Nats(error.into())
}

/// Sends messages until they end or the time is over, and waits for the last answer.
///
/// # Errors
/// [`LoadError`].
pub async fn load(
    client: &Client,
    messages: impl Iterator<Item = Message>,
    flow: Flow,
    expect: Expect,
) -> Result<Measured, LoadError> {
    let prefix = format!("_INBOX.bench.{}", Uuid::now_v7().simple());
    let mut replies = client.subscribe(format!("{prefix}.*")).await.map_err(nats)?;
    client.flush().await.map_err(nats)?;
    let mut messages = messages;
    let started = Instant::now();
    let mut pace = Pace::new(flow.window, flow.rate, started);
    let alarm = flow.rate.map(|rate| Alarm::start(started, rate)).transpose().map_err(LoadError::Thread)?;
    let mut is_over = false;
    let has_ended = |pace: &Pace| flow.time.is_some_and(|time| pace.has_ended(started + time, Instant::now()));
    loop {
        is_over |= has_ended(&pace);
        while !is_over && pace.may_send(Instant::now()) {
            let Some(Message { subject, id, body, commands }) = messages.next() else {
                is_over = true;
                break;
            };
            let mut headers = HeaderMap::new();
            headers.insert(header::ID, id);
            headers.insert(header::REPLY_TO, format!("{prefix}.{}", pace.next()));
            pace.sent(commands, Instant::now());
            client.publish_with_headers(subject, headers, body).await.map_err(nats)?;
            is_over |= has_ended(&pace);
        }
        if is_over && pace.unanswered() == 0 {
            break;
        }
        let waits_for_time = !is_over && pace.has_room();
        let due = async {
            match &alarm {
                Some(alarm) if waits_for_time => alarm.due.notified().await,
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            received = receive(&mut replies, &mut pace, expect), if pace.unanswered() > 0 => received?,
            () = due => {}
        }
    }
    let elapsed = started.elapsed();
    let (commands, latencies) = pace.into_answered();
    Ok(Measured { commands, elapsed, latencies })
}

/// Takes the replies that are there, at least one. May be dropped: it then has taken none.
async fn receive(replies: &mut Subscriber, pace: &mut Pace, expect: Expect) -> Result<(), LoadError> {
    let mut reply = tokio::time::timeout(REPLY_MAX, replies.next()).await.map_err(|_| LoadError::NoReply)?;
    if reply.is_none() {
        return Err(LoadError::NoReply); // The subscription has ended.
    }
    while let Some(message) = reply {
        let number = message.subject.rsplit('.').next().and_then(|token| token.parse().ok());
        let is_first = number.is_some_and(|number| pace.answered(number, Instant::now()));
        if is_first && !expect.is_met_by(&message) {
            let reply = String::from_utf8_lossy(&message.payload).into_owned();
            return Err(LoadError::Unexpected { expected: expect, reply });
        }
        reply = tokio::task::unconstrained(replies.next()).now_or_never().flatten();
    }
    Ok(())
}

/// Says when a command is due. On a thread of its own: the runtime's timers are as coarse as a whole round trip.
struct Alarm {
    due: Arc<Notify>,
    is_done: Arc<AtomicBool>,
}

impl Alarm {
    fn start(started: Instant, rate: f64) -> std::io::Result<Alarm> {
        let alarm = Alarm { due: Arc::new(Notify::new()), is_done: Arc::new(AtomicBool::new(false)) };
        let (due, is_done) = (alarm.due.clone(), alarm.is_done.clone());
        std::thread::Builder::new().name("alarm".into()).spawn(move || {
            while !is_done.load(Ordering::Relaxed) {
                let next = (started.elapsed().as_secs_f64() * rate).floor() + 1.0;
                let wait = Duration::from_secs_f64(next / rate).saturating_sub(started.elapsed());
                std::thread::sleep(wait.max(ALARM_MIN));
                due.notify_one();
            }
        })?;
        Ok(alarm)
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.is_done.store(true, Ordering::Relaxed); // Nobody waits for the thread: it may sleep for a while yet.
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(payload: &'static str, replayed: bool) -> async_nats::Message {
        let mut headers = HeaderMap::new();
        headers.insert(header::REPLAYED, header::TRUE);
        async_nats::Message {
            subject: "_INBOX.bench.1".into(),
            reply: None,
            payload: payload.into(),
            headers: replayed.then_some(headers),
            status: None,
            description: None,
            length: payload.len(),
        }
    }

    #[test]
    fn a_refusal_is_no_work() {
        let accepted = r#"{"id":"0198","status":"accepted","code":200}"#;
        let refused = r#"{"id":"0198","status":"refused","code":503,"error":{"message":"accepted"}}"#;
        assert!(Expect::Accepted.is_met_by(&reply(accepted, false)));
        assert!(!Expect::Accepted.is_met_by(&reply(refused, false)));
        assert!(Expect::Replayed.is_met_by(&reply(accepted, true)));
        assert!(!Expect::Replayed.is_met_by(&reply(accepted, false)), "it was not known");
        assert!(!Expect::Replayed.is_met_by(&reply(refused, true)));
        assert!(Expect::Anything.is_met_by(&reply("xxx", false)));
    }
}

//! A proxy between a program and its nats-server that reads what the program publishes, and withholds what it is told to.
//! So a test can stop a processor between two steps: whatever would show the next step to the world never arrives.

use std::sync::{Arc, Mutex};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A proxy that takes connections on a port of its own until it is dropped.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    /// Subjects that begin with one of these do not get through.
    withheld_prefixes: Mutex<Vec<&'static str>>,
    seen: watch::Sender<Seen>,
}

/// Subjects that were published through the proxy, in order.
#[derive(Debug, Default)]
struct Seen {
    passed: Vec<String>,
    withheld: Vec<String>,
}

impl Proxy {
    /// A proxy in front of the server at this port of the loopback.
    pub async fn start(server_port: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared { withheld_prefixes: Mutex::default(), seen: watch::Sender::default() });
        let accepting = tokio::spawn(accept(listener, server_port, shared.clone()));
        Proxy { port, shared, accepting }
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// From now on withholds what is published to subjects that begin with one of these, and lets the rest through.
    pub fn withhold(&self, prefixes: &[&'static str]) {
        *self.shared.withheld_prefixes.lock().unwrap() = prefixes.to_vec();
    }

    /// Waits until so many publishes to such subjects have been withheld.
    pub async fn until_withheld(&self, prefix: &str, count: usize) {
        self.until(|seen| beginning_with(&seen.withheld, prefix) >= count).await;
    }

    /// Waits until so many publishes to such subjects have got through.
    pub async fn until_passed(&self, prefix: &str, count: usize) {
        self.until(|seen| beginning_with(&seen.passed, prefix) >= count).await;
    }

    /// How many publishes to such subjects have got through.
    pub fn passed(&self, prefix: &str) -> usize {
        beginning_with(&self.shared.seen.borrow().passed, prefix)
    }

    async fn until(&self, holds: impl FnMut(&Seen) -> bool) {
        let mut seen = self.shared.seen.subscribe();
        let wait = seen.wait_for(holds);
        let waited = tokio::time::timeout(std::time::Duration::from_secs(60), wait).await.is_ok();
        assert!(waited, "in vain: {:?}", self.shared.seen.borrow());
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn beginning_with(subjects: &[String], prefix: &str) -> usize {
    subjects.iter().filter(|subject| subject.starts_with(prefix)).count()
}

async fn accept(listener: TcpListener, server_port: u16, shared: Arc<Shared>) {
    while let Ok((program, _)) = listener.accept().await {
        let shared = shared.clone();
        tokio::spawn(async move {
            let Ok(server) = TcpStream::connect(("127.0.0.1", server_port)).await else { return };
            let _ = (program.set_nodelay(true), server.set_nodelay(true));
            let (mut from_server, to_server) = server.into_split();
            let (from_program, mut to_program) = program.into_split();
            // Whichever side ends, both connections end.
            tokio::select! {
                _ = copy(&mut from_server, &mut to_program) => {}
                _ = forward(from_program, to_server, &shared) => {}
            }
        });
    }
}

/// Hands on what the program says, statement by statement.
async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared) -> std::io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        while let Some((length, subject)) = statement(&buffer) {
            if shared.lets_through(subject) {
                to.write_all(&buffer[..length]).await?;
            }
            buffer.advance(length);
        }
        if from.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

/// Length of the first whole statement, and the subject if it is a publish: `PUB subject [reply] size` or
/// `HPUB subject [reply] size-of-headers size`, and behind the line so many bytes.
fn statement(buffer: &[u8]) -> Option<(usize, Option<String>)> {
    let line_end = buffer.windows(2).position(|pair| pair == b"\r\n")?;
    let line = std::str::from_utf8(&buffer[..line_end]).expect("the protocol's lines are text");
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let (Some(&"PUB" | &"HPUB"), Some(subject), Some(size)) = (words.first(), words.get(1), words.last()) else {
        return Some((line_end + 2, None));
    };
    let length = line_end + 2 + size.parse::<usize>().expect("a publish ends with its size") + 2;
    (length <= buffer.len()).then(|| (length, Some((*subject).to_owned())))
}

impl Shared {
    fn lets_through(&self, subject: Option<String>) -> bool {
        let Some(subject) = subject else { return true };
        let passes = !self.withheld_prefixes.lock().unwrap().iter().any(|prefix| subject.starts_with(prefix));
        self.seen.send_modify(|seen| if passes { seen.passed.push(subject) } else { seen.withheld.push(subject) });
        passes
    }
}

//! A proxy between a program and its nats-server that reads what the program publishes, and withholds what it is told to.
//! So a test can stop a processor between two steps: whatever would show the next step to the world never arrives. It can
//! also be a bad [`Line`].

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
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

/// What kind of line the proxy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    Good,
    /// Every connection ends after so many bytes in one direction, wherever that is in a message.
    CutAfter(usize),
    /// Every piece takes so long.
    Slow(std::time::Duration),
    /// Nothing gets through any more, and nobody is told: what such a connection has lost it never gets.
    Dead,
    /// Whatever a program says over a new connection, the server hears over two.
    Doubled,
}

struct Shared {
    line: Mutex<Line>,
    /// Subjects that begin with one of these do not get through.
    withheld_prefixes: Mutex<Vec<&'static str>>,
    seen: watch::Sender<Seen>,
    harmed: AtomicUsize,
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
        let shared = Arc::new(Shared {
            line: Mutex::new(Line::Good),
            withheld_prefixes: Mutex::default(),
            seen: watch::Sender::default(),
            harmed: AtomicUsize::new(0),
        });
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

    /// From now on is such a line.
    pub fn become_line(&self, line: Line) {
        *self.shared.line.lock().unwrap() = line;
    }

    /// How many pieces were cut, lost, late or doubled so far.
    pub fn harmed(&self) -> usize {
        self.shared.harmed.load(Ordering::Relaxed)
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
            let twin = match *shared.line.lock().unwrap() {
                Line::Doubled => Some(TcpStream::connect(("127.0.0.1", server_port))),
                _ => None,
            };
            let twin = match twin {
                Some(twin) => twin.await.ok().map(|twin| twin.into_split()),
                None => None,
            };
            let (twin_answers, to_twin) = twin.unzip();
            if let Some(mut answers) = twin_answers {
                tokio::spawn(async move { copy(&mut answers, &mut sink()).await });
            }
            let (from_server, to_server) = server.into_split();
            let (from_program, to_program) = program.into_split();
            let dead = AtomicBool::new(false);
            let to_program = Wire { to: to_program, twin: None, passed: 0, shared: &shared, dead: &dead };
            let to_server = Wire { to: to_server, twin: to_twin, passed: 0, shared: &shared, dead: &dead };
            // Whichever side ends, both connections end.
            tokio::select! {
                _ = hand_on(from_server, to_program) => {}
                _ = forward(from_program, to_server, &shared) => {}
            }
        });
    }
}

/// One direction of a connection.
struct Wire<'a> {
    to: OwnedWriteHalf,
    twin: Option<OwnedWriteHalf>,
    passed: usize,
    shared: &'a Shared,
    /// Of both directions: whether something was lost, so that nothing may follow.
    dead: &'a AtomicBool,
}

impl Wire<'_> {
    async fn pass(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let line = *self.shared.line.lock().unwrap();
        if line == Line::Dead {
            self.dead.store(true, Ordering::Relaxed);
        }
        let is_lost = self.dead.load(Ordering::Relaxed);
        let length = match line {
            Line::CutAfter(bytes_max) => bytes.len().min(bytes_max.saturating_sub(self.passed)),
            _ => bytes.len(),
        };
        if is_lost || length < bytes.len() || matches!(line, Line::Slow(_)) || self.twin.is_some() {
            self.shared.harmed.fetch_add(1, Ordering::Relaxed);
        }
        if is_lost {
            return Ok(());
        }
        if let Line::Slow(time) = line {
            tokio::time::sleep(time).await;
        }
        self.passed += length;
        self.to.write_all(&bytes[..length]).await?;
        if let Some(twin) = &mut self.twin {
            twin.write_all(&bytes[..length]).await?;
        }
        if length < bytes.len() { Err(std::io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

/// Hands on what the server says, as it comes.
async fn hand_on(mut from: OwnedReadHalf, mut to: Wire<'_>) -> std::io::Result<()> {
    let mut buffer = BytesMut::new();
    while from.read_buf(&mut buffer).await? > 0 {
        to.pass(&buffer.split()).await?;
    }
    Ok(())
}

/// Hands on what the program says, statement by statement.
async fn forward(mut from: OwnedReadHalf, mut to: Wire<'_>, shared: &Shared) -> std::io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        while let Some((length, subject)) = statement(&buffer) {
            if shared.lets_through(subject) {
                to.pass(&buffer[..length]).await?;
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

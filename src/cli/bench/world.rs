//! An empty world for each measurement: a broker, a folder, and whoever answers. Nothing of it is left behind.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use async_nats::Client;
use async_nats::jetstream;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use uuid::Uuid;

use super::role::Role;
use crate::bench::{USUAL_EVENTS, bytes_on_disk};
use crate::cli::dev::child::Child;
use crate::cli::dev::{free_port, nats_server, wait_until_it_listens};
use crate::cli::exit::{Exit, Failure};
use crate::model::error::with_sources;
use crate::nats::provision::events::stream_name;
use crate::nats::provision::{COMMANDS, QUARANTINE};
use crate::nats::{ConnectOptions, connect};

/// The streams that a measurement leaves on a broker.
fn streams() -> [String; 4] {
    [COMMANDS.into(), QUARANTINE.into(), USUAL_EVENTS.into(), stream_name(0)]
}

/// How long the index may take until it knows everything.
const INDEXED_MAX: Duration = Duration::from_secs(300);
/// How often it is asked.
const INDEXED_PAUSE: Duration = Duration::from_millis(100);

/// Where worlds are made.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// A broker that runs already; `None`: each world starts one.
    pub(super) server: Option<String>,
    /// The folder that theirs are in.
    pub(super) folder: PathBuf,
}

impl Place {
    /// Looks whether a broker that runs already is free for us: on one that a processor uses, its commands would be
    /// answered by the echo, and lost.
    pub(super) async fn must_be_free(&self) -> Result<(), Failure> {
        let Some(url) = &self.server else { return Ok(()) };
        let client = client(url).await.map_err(|failure| failure.about("--server"))?;
        let context = jetstream::new(client);
        for name in streams() {
            match context.get_stream(&name).await {
                Ok(_) => {
                    return Err(Failure::new(
                        Exit::Failed,
                        format!(
                            "{url} has a stream {name} already, so it is no server to measure on: take one that no \
                             processor uses, or leave --server out. If the stream is what an interrupted measurement \
                             has left behind, remove it"
                        ),
                    ));
                }
                Err(error) if is_absent(&error) => {}
                Err(error) => return Err(Failure::new(Exit::Failed, with_sources(&error))),
            }
        }
        Ok(())
    }

    /// Removes what measurements have made on a broker that goes on.
    pub(super) async fn clear(&self) -> Result<(), Failure> {
        let Some(url) = &self.server else { return Ok(()) };
        let context = jetstream::new(client(url).await?);
        for name in streams() {
            let _ = context.delete_stream(name).await; // Most often it was not made.
        }
        Ok(())
    }
}

fn is_absent(error: &jetstream::context::GetStreamError) -> bool {
    use jetstream::context::GetStreamErrorKind::JetStream;
    matches!(error.kind(), JetStream(error) if error.error_code() == jetstream::ErrorCode::STREAM_NOT_FOUND)
}

/// A broker and a folder of our own, or a broker of somebody else that nobody uses meanwhile.
pub(super) struct World {
    // Ended before the folder is removed.
    broker: Option<Child>,
    url: String,
    pub(super) client: Client,
    folder: Folder,
}

/// A folder of our own, removed with everything in it.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn make(place: &Place) -> Result<Folder, Failure> {
        let folder = Folder(place.folder.join(format!("hapax-bench-{}", Uuid::now_v7())));
        std::fs::create_dir_all(&folder.0).map_err(Failure::io(format_args!("cannot make {}", folder.0.display())))?;
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind in the temporary folder harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Who answers in a world.
pub(super) struct Answering {
    child: Child,
    /// From its start until it was ready.
    pub(super) started_within: Duration,
}

/// What is read of a health report.
#[derive(Deserialize)]
struct Report {
    partitions: Vec<Health>,
}

/// Of its partition.
#[derive(Deserialize)]
pub(super) struct Health {
    /// Commits that the index does not know yet.
    pub(super) unindexed: u64,
    /// Fsyncs of the journal so far.
    pub(super) syncs: u64,
}

impl World {
    pub(super) async fn make(place: &Place) -> Result<World, Failure> {
        let folder = Folder::make(place)?;
        let streams = folder.0.join("nats");
        std::fs::create_dir_all(&streams).map_err(Failure::io(format_args!("cannot make {}", streams.display())))?;
        let (broker, url) = match &place.server {
            Some(url) => (None, url.clone()),
            None => {
                let port = free_port(0)?;
                let mut command = nats_server::command(&nats_server::find()?, port, &streams);
                let mut server = Child::start("nats-server", &mut command)?;
                wait_until_it_listens(&mut server, port).await?;
                (Some(server), format!("nats://127.0.0.1:{port}"))
            }
        };
        let client = client(&url).await?;
        Ok(World { broker, url, client, folder })
    }

    /// Starts whoever answers, and waits until it does.
    pub(super) async fn answer(&self, role: Role) -> Result<Answering, Failure> {
        let program = std::env::current_exe().map_err(Failure::io("cannot find this program"))?;
        let mut command = Command::new(program);
        command.args(role.arguments(&self.url, &self.data())).stdin(Stdio::null()).stdout(Stdio::piped());
        let began = Instant::now();
        let mut child = Child::start("the answering side", &mut command)?;
        let ready = match child.process.stdout.take() {
            Some(stdout) => BufReader::new(stdout).lines().next_line().await.ok().flatten(),
            None => None,
        };
        let started_within = began.elapsed();
        match ready {
            Some(_) => Ok(Answering { child, started_within }),
            None => Err(Failure::new(Exit::Failed, "the answering side has ended")),
        }
    }

    pub(super) fn broker_pid(&self) -> Option<u32> {
        self.broker.as_ref().map(Child::pid)
    }

    /// How the processor is: it has one partition.
    pub(super) async fn health(&self) -> Result<Health, Failure> {
        let unreadable = |why| Failure::new(Exit::Failed, format!("the processor's report cannot be read: {why}"));
        let answer = self.client.request("qry.bench.health", bytes::Bytes::new()).await;
        let answer = answer.map_err(|error| Failure::new(Exit::Failed, with_sources(&error)))?;
        let report: Report =
            serde_json::from_slice(&answer.payload).map_err(|error| unreadable(with_sources(&error)))?;
        report.partitions.into_iter().next().ok_or_else(|| unreadable("it has no partition".into()))
    }

    /// Waits until the index knows every commit.
    pub(super) async fn until_indexed(&self) -> Result<(), Failure> {
        let deadline = Instant::now() + INDEXED_MAX;
        loop {
            // Vital signs are taken now and again, so what is told first may be old.
            tokio::time::sleep(INDEXED_PAUSE).await;
            if self.health().await?.unindexed == 0 {
                return Ok(());
            }
            if deadline < Instant::now() {
                let seconds = INDEXED_MAX.as_secs();
                return Err(Failure::new(Exit::Failed, format!("the index is behind, also after {seconds} s")));
            }
        }
    }

    /// Bytes that journal and index take. To be asked when nobody writes to them.
    pub(super) fn bytes(&self) -> Result<(u64, u64), Failure> {
        let partition = self.data().join("p0");
        let bytes =
            |dir: &Path| bytes_on_disk(dir).map_err(Failure::io(format_args!("cannot measure {}", dir.display())));
        let journal = bytes(&partition.join("journal"))?;
        Ok((journal, bytes(&partition)?.saturating_sub(journal)))
    }

    fn data(&self) -> PathBuf {
        self.folder.0.join("data")
    }

    /// Ends it. Whoever answered has been stopped before.
    pub(super) async fn end(self, place: &Place) -> Result<(), Failure> {
        match self.broker {
            Some(mut broker) => {
                broker.stop().await;
                Ok(())
            }
            None => place.clear().await,
        }
    }
}

impl Answering {
    pub(super) fn pid(&self) -> u32 {
        self.child.pid()
    }

    pub(super) async fn stop(mut self) {
        self.child.stop().await;
    }
}

async fn client(url: &str) -> Result<Client, Failure> {
    let options = ConnectOptions {
        servers: vec![url.to_owned()],
        inbox_prefix: Some("_INBOX.bench".into()), // Of the principal that sends, as the processor demands.
        ..ConnectOptions::default()
    };
    Ok(connect(&options).await?)
}

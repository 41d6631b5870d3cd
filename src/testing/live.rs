//! A story on a real nats-server: a server of its own on a free port, a processor as `serve` runs it, the shipped client.
//!
//! A real clock runs there, and cannot be moved. But a processor decides nothing earlier than the commit before, and a
//! story's time lies far ahead of every clock: so what makes it later is a commit of that time, put into the store while
//! the processor stands still. What is given comes in by the same way.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Deserialize;
use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::files::left_by_a_kill;
use super::home::{Given, GivenWhat, Home, Live, Trouble, is_of_the_clock};
use super::message::{BatchItem, Message, What};
use crate::aggregate::Service;
use crate::client::{BatchOutcome, Client, Known, RawBatch, RawOutcome, SendError};
use crate::model::error::with_sources;
use crate::model::subject::QuerySubject;
use crate::model::{AggregateId, Commit, Position, Principal, Timestamp};
use crate::nats::{ConnectOptions, program};
use crate::serve::open::open;
use crate::serve::{DataDir, Feed, Notice, ServeError, Settings, serve};
use crate::store::file::{FileReader, OpenError};
use crate::store::{CommitReader, EventStore};

/// How long a server, a processor or an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often it is looked whether the server has said where it listens; it says so in no other way.
const LOOK_EVERY: Duration = Duration::from_millis(5);

pub(super) struct Nats {
    service: Arc<Service>,
    /// Dropped before the server: without it the processor would wait to say good-bye.
    life: Option<Life>,
    clients: BTreeMap<Principal, Client>,
    /// Theirs.
    runtime: Runtime,
    server: Server,
    data: TempDir,
    /// The time of the last commit that was put into the store here.
    clock: Option<Timestamp>,
    clock_commits: u32,
}

/// A running processor, with threads of its own, so that it can end at any moment.
struct Life {
    runtime: Runtime,
    stop: CancellationToken,
    ended: JoinHandle<Result<(), ServeError>>,
}

impl Nats {
    /// A nats-server, and a processor as soon as something is sent to it.
    pub(super) fn home(service: Arc<Service>) -> Result<Nats, Trouble> {
        Ok(Nats {
            service,
            life: None,
            clients: BTreeMap::new(),
            runtime: runtime()?,
            server: Server::start()?,
            data: TempDir::new().map_err(|error| with_sources(&error))?,
            clock: None,
            clock_commits: 0,
        })
    }

    fn nats(&self) -> ConnectOptions {
        ConnectOptions { servers: vec![self.server.url.clone()], ..ConnectOptions::default() }
    }

    /// Sees to it that it is as late as the story says, and that commands are decided.
    fn run(&mut self, now: Timestamp) -> Result<(), Trouble> {
        if self.clock < Some(now) {
            self.clock_commits += 1;
            self.give(Given { number: 100_000 + self.clock_commits, time: now, what: GivenWhat::Time })?;
        }
        if self.life.is_none() {
            let settings = Settings {
                nats: self.nats(),
                data: self.data.path().to_owned(),
                partitions: None,
                provision: true,
                take_over: false,
                feed: Feed::Off,
            };
            self.life = Some(Life::start(self.service.clone(), settings)?);
        }
        Ok(())
    }

    fn client(&mut self, principal: &Principal) -> Result<&Client, Trouble> {
        if !self.clients.contains_key(principal) {
            let nats = self.nats();
            let client = self
                .runtime
                .block_on(Client::connect_with(&nats, principal.clone()))
                .map_err(|error| with_sources(&error))?;
            self.clients.insert(principal.clone(), client);
        }
        Ok(&self.clients[principal])
    }

    /// Asks a client for something.
    fn ask<T, F: Future<Output = Result<T, Trouble>>>(
        &mut self,
        principal: &Principal,
        ask: impl FnOnce(Client) -> F,
    ) -> Result<T, Trouble> {
        let client = self.client(principal)?.clone();
        self.runtime.block_on(ask(client))
    }
}

impl Home for Nats {
    fn give(&mut self, given: Given) -> Result<(), Trouble> {
        if let Some(life) = self.life.take() {
            life.stop()?;
        }
        let data = DataDir::open_or_create(self.data.path(), None).map_err(|error| with_sources(&error))?;
        let opened = open(&data, 0, None, |_| ()).map_err(|error| with_sources(&error))?;
        let (mut store, tip) = (opened.store, opened.tip);
        let commits = store.reader().read(Position::FIRST).collect::<Result<Vec<_>, _>>();
        let commits = commits.map_err(|error| with_sources(&error))?;
        self.clock = Some(given.time);
        store.append(vec![given.commit(&tip, &commits)]);
        let durable = futures::executor::block_on(store.durable());
        durable.map(|_| ()).map_err(|error| with_sources(&error))
    }

    fn send(&mut self, message: &Message, now: Timestamp) -> Result<Bytes, Trouble> {
        self.run(now)?;
        let Message { principal, what } = message.clone();
        self.ask(&principal, async move |client| heard(send(&client, what).await))
    }

    /// A question is enough, and need not wait until the stream takes a second copy.
    fn remind(&mut self, message: &Message, now: Timestamp) -> Result<Bytes, Trouble> {
        self.run(now)?;
        let (aggregate, id) = (message.aggregate(), message.id().clone());
        self.ask(&message.principal, async move |client| match client.outcome(&aggregate, &id, PATIENCE).await {
            Ok(Known::Decided(RawOutcome { json, .. }) | Known::Batch(RawBatch { json, .. })) => Ok(json),
            Ok(Known::Unknown { .. }) => Err(format!("nothing is known of {id} any more")),
            Err(error) => Err(with_sources(&error)),
        })
    }

    fn state(&mut self, aggregate: &AggregateId, now: Timestamp) -> Result<Live, Trouble> {
        self.run(now)?;
        let principal = Principal::parse("story").expect("it is a token");
        let subject = QuerySubject::State { principal: principal.clone(), aggregate: aggregate.clone() };
        self.ask(&principal, async move |client| match client.query(&subject, Bytes::new(), PATIENCE).await {
            Ok(answer) => Live::read(&answer),
            Err(error) => Err(with_sources(&error)),
        })
    }

    fn commits(&self) -> Result<Vec<Commit>, Trouble> {
        let data = match DataDir::open(self.data.path()) {
            Ok(data) => data,
            Err(crate::serve::DataDirError::Absent { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(with_sources(&error)),
        };
        match FileReader::open_read_only(&data.journal_dir(0)) {
            Ok(reader) => {
                let commits = reader.read(Position::FIRST).collect::<Result<Vec<_>, _>>();
                let mut commits = commits.map_err(|error| with_sources(&error))?;
                commits.retain(|commit| !is_of_the_clock(commit));
                Ok(commits)
            }
            Err(OpenError::Absent { .. }) => Ok(Vec::new()),
            Err(error) => Err(with_sources(&error)),
        }
    }

    /// The processor's. The server goes on, as it would.
    fn crash(&mut self) -> Result<(), Trouble> {
        let Some(life) = self.life.take() else { return Ok(()) };
        self.data = left_by_a_kill(self.data.path())?;
        life.kill();
        Ok(())
    }
}

/// Ends what still runs: the processor's threads first, since they use the server.
impl Drop for Nats {
    fn drop(&mut self) {
        if let Some(life) = self.life.take() {
            life.kill();
        }
    }
}

async fn send(client: &Client, what: What) -> Result<Bytes, SendError> {
    match what {
        What::Command(command) => client.send_raw(command, PATIENCE).await.map(|raw| raw.json),
        What::Void { aggregate, id, .. } => client.void(&aggregate, &id, PATIENCE).await.map(|raw| raw.json),
        What::Batch { id, items, not_after } => {
            let mut batch = client.batch().id(id).deadline(PATIENCE);
            if let Some(time) = not_after {
                batch = batch.not_after(time);
            }
            for item in items {
                batch = match item {
                    BatchItem::Command(command) => batch.command_raw(command),
                    BatchItem::Check(aggregate, version) => batch.check_raw(aggregate, version),
                };
            }
            Ok(match batch.run().await? {
                BatchOutcome::Accepted(RawBatch { json, .. }) | BatchOutcome::Rejected(RawBatch { json, .. }) => json,
                BatchOutcome::Voided(RawOutcome { json, .. }) => json,
            })
        }
    }
}

/// A refusal is an answer too.
fn heard(sent: Result<Bytes, SendError>) -> Result<Bytes, Trouble> {
    match sent {
        Ok(body) => Ok(body),
        Err(SendError::Refused { id, refusal }) => Ok(refusal.to_json(Some(&id)).into()),
        Err(error) => Err(with_sources(&error)),
    }
}

fn runtime() -> Result<Runtime, Trouble> {
    let built = Builder::new_multi_thread().worker_threads(1).enable_all().build();
    built.map_err(|error| format!("no runtime for the client or the processor: {error}"))
}

impl Life {
    /// Returns when commands are decided.
    fn start(service: Arc<Service>, settings: Settings) -> Result<Life, Trouble> {
        let (runtime, stop) = (runtime()?, CancellationToken::new());
        let (tell, told) = mpsc::channel();
        let notify = move |notice| {
            if let Notice::Ready = notice {
                let _nobody_waits_any_more = tell.send(());
            }
        };
        let ended = runtime.spawn(serve(service, settings, stop.clone(), notify));
        let life = Life { runtime, stop, ended };
        match told.recv_timeout(PATIENCE) {
            Ok(()) => Ok(life),
            Err(mpsc::RecvTimeoutError::Timeout) => Err(format!("the processor is not ready after {PATIENCE:?}")),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                life.stop()?;
                Err("the processor has stopped before it was ready".to_owned())
            }
        }
    }

    /// Drains and ends.
    fn stop(self) -> Result<(), Trouble> {
        self.stop.cancel();
        match self.runtime.block_on(self.ended) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(with_sources(&error)),
            Err(error) => Err(format!("the processor has panicked: {error}")),
        }
    }

    /// Ends where it stands, its connections with it.
    fn kill(self) {
        self.runtime.shutdown_timeout(PATIENCE);
    }
}

/// A nats-server, ended with the story.
struct Server {
    process: Child,
    url: String,
    folder: TempDir,
}

impl Server {
    fn start() -> Result<Server, Trouble> {
        let program = program::find().map_err(|error| error.to_string())?;
        let folder = TempDir::new().map_err(|error| with_sources(&error))?;
        let path = folder.path();
        let mut command = Command::new(&program);
        command.args(["-a", "127.0.0.1", "-p", "-1", "-js", "-sd"]).arg(path.join("streams"));
        command.arg("--ports_file_dir").arg(path).arg("-l").arg(path.join("log"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().map_err(|error| format!("cannot run {}: {error}", program.display()))?;
        let mut server = Server { process, url: String::new(), folder };
        server.url = server.wait_for_url()?;
        Ok(server)
    }

    /// The server writes where it listens to a file of its own.
    fn wait_for_url(&mut self) -> Result<String, Trouble> {
        #[derive(Deserialize)]
        struct Ports {
            nats: Vec<String>,
        }
        let folder = self.folder.path();
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            let text = ports_file(folder).and_then(|file| fs::read_to_string(file).ok());
            // Half of a file is not JSON yet.
            if let Some(ports) = text.and_then(|text| serde_json::from_str::<Ports>(&text).ok())
                && let Some(url) = ports.nats.into_iter().next()
            {
                return Ok(url);
            }
            if let Ok(Some(status)) = self.process.try_wait() {
                let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
                return Err(format!("nats-server has ended at once ({status}): {log}"));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Err(format!("nats-server does not listen after {PATIENCE:?}"))
    }
}

fn ports_file(folder: &Path) -> Option<std::path::PathBuf> {
    let mut paths = fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    paths.find(|path| path.extension().is_some_and(|extension| extension == "ports"))
}

impl Drop for Server {
    fn drop(&mut self) {
        let _it_may_have_ended = self.process.kill();
        let _ = self.process.wait();
    }
}

//! Every system call by which the program changes a file of its data directory, or makes it safe, is found by tracing;
//! then each is, once, the last thing that the program does (SIGKILL), and each write and fsync fails once (EIO).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;

use futures::{StreamExt, stream};
use tempfile::TempDir;

use crate::clients::{Clients, Told};
use crate::common::nats::NatsServer;
use crate::common::row::{Need, Row, Verdict, can_run};
use crate::judge::{given_up, judge};
use crate::program::{Feeds, Serve, Started, supervise};
use crate::stores::{Store, bulk, script, until_checkpointed, until_stated};
use crate::strace::{self, Attached, Blow, Point};

/// Runs at a time. They mostly wait for each other's clients.
const AT_A_TIME: usize = 8;

/// How often a point is tried that no thread has come to.
const ATTEMPTS: u32 = 4;

/// The offsets of the second of several small segments.
const SECOND_OFFSETS: &str = "p0/journal/00000000000000000002.idx";

/// Which part of a program's life is traced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// From its beginning until it is ready.
    Start,
    /// From then on: commands, and a clean stop.
    Run,
    /// The same, and between the two a pause that is long enough for a checkpoint.
    RunAndRest,
}

/// A part of life, beginning with what it finds.
struct Scene {
    name: &'static str,
    part: Part,
    store: Store,
    /// What is sent.
    told: Vec<Told>,
}

/// One run: a broker and a copy of a store.
struct Run {
    nats: NatsServer,
    folder: TempDir,
    clients: Clients,
}

impl Run {
    async fn of(store: &Store) -> Run {
        let nats = tokio::task::spawn_blocking(NatsServer::start).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        store.copy_to(&folder.path().join("data"));
        let clients = Clients::connect(&nats.url(), store.history.clone()).await;
        Run { nats, folder, clients }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn trace(&self) -> PathBuf {
        self.folder.path().join("trace")
    }

    fn serve(&self) -> Serve {
        Serve {
            under: Vec::new(),
            url: self.nats.url(),
            data: self.data(),
            feed: Feeds::Off,
            log: self.folder.path().join("log"),
        }
    }

    /// Each command when the journal has said that the one before is durable.
    async fn send(&self, scene: &Scene) {
        for told in &scene.told {
            self.clients.settle(told).await;
            until_stated(&self.data()).await;
        }
        if scene.part == Part::RunAndRest {
            until_checkpointed(&self.data()).await;
        }
    }
}

/// What a scene's program does to its files.
async fn trace(scene: &Scene) -> BTreeSet<Point> {
    let run = Run::of(&scene.store).await;
    let (plain, trace) = (run.serve(), run.trace());
    let mut threads = BTreeMap::new();
    let text = match scene.part {
        Part::Start => {
            let traced = Serve { under: strace::run(strace::everything(&trace)), ..plain };
            let program = traced.start_well().await;
            let id = program.id;
            program.kill().await;
            strace::written(&trace, id).await
        }
        Part::Run | Part::RunAndRest => {
            let program = plain.start_well().await;
            let strace = Attached::to(Vec::new(), program.id, strace::everything(&trace)).await;
            threads = strace::threads(program.id).await;
            run.send(scene).await;
            assert!(program.stop().await.success());
            strace.ended().await;
            fs::read_to_string(trace).unwrap()
        }
    };
    let (points, shadowed) = strace::points(&text, &run.data(), &threads);
    let (in_sled, shadowed): (Vec<_>, Vec<_>) = shadowed.iter().partition(|point| point.is_in(strace::SLED));
    assert!(shadowed.is_empty(), "{}: no injection reaches {shadowed:?}", scene.name);
    println!("{}: {} calls of sled's further threads are not reached", scene.name, in_sled.len());
    points
}

/// One run with a blow at a point. Whether it has fallen, and what does not hold afterwards.
async fn strike(scene: &Scene, point: &Point, blow: Blow) -> (bool, Verdict) {
    let run = Run::of(&scene.store).await;
    let (plain, trace) = (run.serve(), run.trace());
    let struck = match scene.part {
        Part::Start => {
            let traced = Serve { under: strace::run(point.strike(blow, &run.data(), &trace)), ..plain.clone() };
            let (id, first) = match traced.start().await {
                Started::Ready(program) => (program.id, Some(program)),
                Started::Ended(_, id) => (id, None),
            };
            match supervise(&plain, first, run.send(scene)).await {
                Ok(((), program)) => program.stop().await,
                Err(complaint) => return (true, given_up(&run.clients.history(), complaint)),
            };
            strace::is_struck(&strace::written(&trace, id).await, blow)
        }
        Part::Run | Part::RunAndRest => {
            let program = plain.start_well().await;
            let strace = Attached::to_strike(point, blow, program.id, &run.data(), &trace).await;
            match supervise(&plain, Some(program), run.send(scene)).await {
                Ok(((), program)) => program.stop().await,
                Err(complaint) => return (true, given_up(&run.clients.history(), complaint)),
            };
            strace.ended().await;
            strace::is_struck(&fs::read_to_string(trace).unwrap(), blow)
        }
    };
    (struck, aftermath(&run, scene).await)
}

/// Starts once more, and sends everything again.
async fn aftermath(run: &Run, scene: &Scene) -> Verdict {
    let plain = run.serve();
    let again = async {
        // Of the bulk of a full segment a few.
        for told in scene.store.told.iter().rev().take(3).chain(&scene.told) {
            run.clients.settle(told).await;
            run.clients.state(told).await;
            run.clients.recorded(told).await;
        }
        run.clients.until_well().await
    };
    match supervise(&plain, None, again).await {
        Ok((well, program)) => {
            let status = program.stop().await;
            let mut verdict = judge(&run.clients.history(), &run.data(), None);
            verdict.complaints.extend(well.err());
            if !status.success() {
                verdict.complaints.push(format!("it has not stopped well: {status}"));
            }
            verdict
        }
        Err(complaint) => given_up(&run.clients.history(), complaint),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_system_call_is_a_crash_point() {
    let (kills, errors) = ("crash points: SIGKILL at a system call", "crash points: EIO from a write or an fsync");
    if !can_run(kills, &[Need::Strace]) || !can_run(errors, &[Need::Strace]) {
        return;
    }
    let (mut kills, mut errors) = (Row::of(kills), Row::of(errors));
    for scene in scenes().await {
        let found = trace(&scene).await;
        let blows: Vec<_> = found.iter().map(|point| (point, Blow::Kill)).collect();
        let failing = found.iter().filter(|point| point.can_fail()).map(|point| (point, Blow::InputOutputError));
        let blows: Vec<_> = blows.into_iter().chain(failing).collect();
        let struck = stream::iter(&blows).map(|(point, blow)| strike_surely(&scene, point, *blow));
        let struck: Vec<_> = struck.buffered(AT_A_TIME).collect().await;
        for blow in [Blow::Kill, Blow::InputOutputError] {
            let row = if blow == Blow::Kill { &mut kills } else { &mut errors };
            let of_blow = || blows.iter().zip(&struck).filter(|((_, of), _)| *of == blow);
            let hit = of_blow().filter(|(_, (struck, _))| *struck).count();
            println!("{}, {blow:?}: {} found, {hit} hit", scene.name, of_blow().count());
            for ((point, _), (_, verdict)) in of_blow() {
                row.add(1, &format!("{}, {point}", scene.name), verdict);
            }
        }
    }
    Row::end_all([kills, errors]);
}

/// sled's threads divide their work anew in each run, so that none of them may come to a number.
async fn strike_surely(scene: &Scene, point: &Point, blow: Blow) -> (bool, Verdict) {
    for _ in 0..ATTEMPTS {
        let (struck, verdict) = strike(scene, point, blow).await;
        if struck || !verdict.complaints.is_empty() {
            return (struck, verdict);
        }
    }
    (false, Verdict::of("the program has not come to this call"))
}

async fn scenes() -> Vec<Scene> {
    let script = script();
    let stopped = Store::none().after(&script[..3]).await;
    let run = |name, store, told: &[Told]| Scene { name, part: Part::Run, store, told: told.to_vec() };
    let start = |name, store| Scene { name, part: Part::Start, store, told: script.clone() };
    vec![
        start("first start", Store::none()),
        run("commits and a stop", Store::none(), &script),
        Scene { part: Part::RunAndRest, ..run("an idle moment", Store::none(), &script[..2]) },
        run("a full segment", Store::none().after(&bulk()).await, &script[..2]),
        start("start after a stop", stopped.clone()),
        start("start behind a commit without fsync", stopped.killed_before_fsync(&script[4]).await),
        start("start behind a batch without fsync", stopped.killed_before_fsync(&script[6]).await),
        start("start with an index to be rebuilt", stopped.with_doubtful_index()),
        start("start with offsets to be made again", stopped.in_segments(300).without(SECOND_OFFSETS)),
    ]
}

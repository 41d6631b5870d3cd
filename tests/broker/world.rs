//! A broker, a line to it, a processor and a load; and the judgement when it is over.

use std::path::Path;
use std::time::Duration;

use hapax::index::{Index, SledIndex};
use hapax::model::Commit;
use hapax::serve::DataDir;
use hapax::store::CommitReader;
use hapax::store::file::FileReader;
use hapax::{Position, Principal};
use tempfile::TempDir;

use crate::common::checker::{Counts, Evidence, Feed, check};
use crate::common::feed::{Fed, read_feed};
use crate::common::health::{health, until_well};
use crate::common::history::History;
use crate::common::nats::NatsServer;
use crate::common::proxy::Proxy;
use crate::common::row::{Row, Verdict};
use crate::load::Load;
use crate::processor::{RunningProcessor, samples, settings};

/// How long after a fault everything may take to be well again.
pub(crate) const HEALTHY_AGAIN_MAX: Duration = Duration::from_secs(30);

/// Outcomes before the first fault, and after the last one.
const SOME: u64 = 60;

pub(crate) struct World {
    pub(crate) nats: NatsServer,
    pub(crate) line: Proxy,
    pub(crate) load: Load,
    processor: RunningProcessor,
    data: TempDir,
}

impl World {
    /// Everything runs, and some commands have their outcome.
    pub(crate) async fn start() -> World {
        let nats = NatsServer::start();
        let line = Proxy::start(nats.port()).await;
        let data = tempfile::tempdir().unwrap();
        let processor = RunningProcessor::start_with(samples(), settings(line.url(), data.path())).await;
        let load = Load::start(&line.url());
        let world = World { nats, line, load, processor, data };
        world.some_more().await;
        world
    }

    /// Waits for some more outcomes; fails if there are none in time.
    pub(crate) async fn some_more(&self) -> Duration {
        let more = self.load.until_more(SOME, HEALTHY_AGAIN_MAX).await;
        more.unwrap_or_else(|| panic!("no outcomes within {HEALTHY_AGAIN_MAX:?}"))
    }

    /// Ends the load, stops the processor, judges, and prints the row.
    pub(crate) async fn judge(self, fault: &str, runs: usize, slowest: Duration) {
        let (history, lost) = self.load.end(HEALTHY_AGAIN_MAX).await;
        let nats = self.nats.client().await;
        let is_well = tokio::time::timeout(HEALTHY_AGAIN_MAX, until_well(&nats)).await.is_ok();
        let said = health(&nats).await;
        self.processor.stop().await;
        let feed = read_feed(&nats, 0).await;
        let commits = commits(self.data.path());
        let missing = history.not_in(commits.as_deref().unwrap_or_default());
        let mut verdict = Verdict { lost: lost + missing, ..Verdict::default() };
        if !is_well {
            verdict.complaints.push(format!("it is not well after {HEALTHY_AGAIN_MAX:?}: {said}"));
        }
        match commits.and_then(|commits| judge(self.data.path(), &history, &commits, &feed)) {
            Ok(counts) => {
                let (outcomes, commits) = (counts.0[1], counts.0[6]);
                println!("{fault}: well again after {} ms at most", slowest.as_millis());
                println!("{fault}: {outcomes} outcomes, {commits} commits");
            }
            Err(complaint) => verdict.complaints.push(complaint),
        }
        Row::whole(fault, runs, &verdict);
    }
}

/// All of the store that is left.
pub(crate) fn commits(data: &Path) -> Result<Vec<Commit>, String> {
    let dir = DataDir::open(data).unwrap();
    let reader = FileReader::open_read_only(&dir.journal_dir(0)).map_err(|error| error.to_string())?;
    let commits: Result<Vec<_>, _> = reader.read(Position::FIRST).collect();
    let commits = commits.map_err(|error| error.to_string())?;
    assert_eq!(commits.last().map(|commit| commit.position), reader.last());
    Ok(commits)
}

fn judge(data: &Path, history: &History, commits: &[Commit], feed: &[Fed]) -> Result<Counts, String> {
    let dir = DataDir::open(data).unwrap();
    let id = dir.store_id(0);
    let index = SledIndex::open_as_it_is(&dir.partition_dir(0), id).map_err(|error| error.to_string())?;
    let evidence = Evidence {
        id,
        service: &samples(),
        commits,
        index: index.as_ref().map(|(index, from)| (index as &dyn Index, Some(from.position))),
        feed: Some(Feed { messages: feed, is_whole: true }),
        // A client that ended may have copies on their way, and the broker may have lost some.
        all_settled: false,
    };
    check(history, &evidence).map_err(|violations| format!("{violations:#?}"))
}

/// Somebody to send with who has no part in the load.
pub(crate) async fn client(nats: &NatsServer) -> hapax::client::Client {
    hapax::client::Client::new(nats.client().await, Principal::parse("alice").unwrap()).await.unwrap()
}

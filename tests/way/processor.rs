//! A processor with the sample domain, in this process.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hapax::Service;
use hapax::nats::ConnectOptions;
use hapax::serve::{Feed, Notice, ServeError, Settings, serve};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::common::nats::NatsServer;

pub(crate) struct RunningProcessor {
    stop: CancellationToken,
    ended: JoinHandle<Result<(), ServeError>>,
    notices: Arc<Mutex<Vec<Notice>>>,
}

/// The settings of a processor on a broker and a data directory.
pub(crate) fn settings(url: String, data: &Path) -> Settings {
    Settings {
        nats: ConnectOptions { servers: vec![url], ..ConnectOptions::default() },
        data: data.to_owned(),
        partitions: None,
        provision: true,
        take_over: false,
        feed: Feed::On,
    }
}

/// The sample domain.
pub(crate) use hapax::samples::service as samples;

impl RunningProcessor {
    /// Returns when commands are decided.
    pub(crate) async fn start(nats: &NatsServer, data: &Path) -> RunningProcessor {
        RunningProcessor::start_with(samples(), settings(nats.url(), data)).await
    }

    /// The same, with other aggregates or settings.
    pub(crate) async fn start_with(service: Service, settings: Settings) -> RunningProcessor {
        let (stop, ready, notices) =
            (CancellationToken::new(), Arc::new(Notify::new()), Arc::new(Mutex::new(Vec::new())));
        let (is_ready, heard) = (ready.clone(), notices.clone());
        let notify = move |notice| {
            if let Notice::Ready = notice {
                is_ready.notify_one();
            }
            heard.lock().unwrap().push(notice);
        };
        let mut ended = tokio::spawn(serve(service, settings, stop.clone(), notify));
        tokio::select! {
            () = ready.notified() => RunningProcessor { stop, ended, notices },
            ended = &mut ended => panic!("the processor ended before it was ready: {ended:?}"),
        }
    }

    /// What it has told.
    pub(crate) fn notices(&self) -> Vec<Notice> {
        self.notices.lock().unwrap().clone()
    }

    /// How many commits it had to note in its index before it was ready.
    pub(crate) fn commits_rebuilt(&self) -> u64 {
        let totals = self.notices().into_iter().filter_map(|notice| match notice {
            Notice::Rebuilding(_, progress) => Some(progress.total),
            _ => None,
        });
        totals.max().unwrap_or(0)
    }

    /// Why it did not believe the index that it found.
    pub(crate) fn doubt(&self) -> Option<String> {
        self.notices().into_iter().find_map(|notice| match notice {
            Notice::IndexDoubted(_, why) => Some(why),
            _ => None,
        })
    }

    /// Drains and ends.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.ended.await.unwrap().unwrap();
    }
}

/// Why a processor with these settings does not start.
pub(crate) async fn refused_start(settings: Settings) -> ServeError {
    let serving = serve(samples(), settings, CancellationToken::new(), |_| ());
    let ended = tokio::time::timeout(Duration::from_secs(30), serving).await.expect("it starts, and should not");
    ended.expect_err("nobody has stopped it")
}

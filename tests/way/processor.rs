//! A processor with the sample domain, in this process.

use std::path::Path;
use std::sync::Arc;

use hapax::Service;
use hapax::nats::ConnectOptions;
use hapax::samples::{Account, Order};
use hapax::serve::{Notice, ServeError, Settings, serve};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::common::nats::NatsServer;

pub(crate) struct RunningProcessor {
    stop: CancellationToken,
    ended: JoinHandle<Result<(), ServeError>>,
}

impl RunningProcessor {
    /// Returns when commands are decided.
    pub(crate) async fn start(nats: &NatsServer, data: &Path) -> RunningProcessor {
        let settings = Settings {
            nats: ConnectOptions { servers: vec![nats.url()], ..ConnectOptions::default() },
            data: data.to_owned(),
            partitions: None,
            provision: true,
            take_over: false,
        };
        let (stop, ready) = (CancellationToken::new(), Arc::new(Notify::new()));
        let is_ready = ready.clone();
        let service = Service::new().with::<Account>().with::<Order>();
        let notify = move |notice| {
            if let Notice::Ready = notice {
                is_ready.notify_one();
            }
        };
        let mut ended = tokio::spawn(serve(service, settings, stop.clone(), notify));
        tokio::select! {
            () = ready.notified() => RunningProcessor { stop, ended },
            ended = &mut ended => panic!("the processor ended before it was ready: {ended:?}"),
        }
    }

    /// Drains and ends.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.ended.await.unwrap().unwrap();
    }
}

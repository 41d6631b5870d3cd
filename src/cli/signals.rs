//! Being told to stop: ctrl-c, SIGTERM, or the terminal that goes away.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Hears the signals from when it is made.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Returns when the next one comes. May be dropped and called again.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }

    /// What the next one cancels.
    pub(super) fn into_token(mut self) -> CancellationToken {
        let token = CancellationToken::new();
        let told = token.clone();
        tokio::spawn(async move {
            self.next().await;
            told.cancel();
        });
        token
    }
}

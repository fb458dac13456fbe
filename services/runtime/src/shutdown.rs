//! The two moments of a shutdown, for whoever has to know.

use tokio_util::sync::CancellationToken;

/// Tells the parts of a process to come to an end. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    stop: CancellationToken,
    cutoff: CancellationToken,
}

impl Shutdown {
    /// Take on nothing new.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Give back what is still under way.
    pub fn cut_off(&self) {
        self.stop.cancel();
        self.cutoff.cancel();
    }

    /// Returns when nothing new may be taken on.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Works until nothing new may be taken on, or until it is done.
    pub async fn until_stopping(&self, work: impl Future<Output = ()>) {
        let _done = self.stop.run_until_cancelled(work).await;
    }

    /// Whether nothing new may be taken on.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Returns when what is under way has to be given back.
    pub async fn cutting_off(&self) {
        self.cutoff.cancelled().await;
    }
}

//! The tasks of one running server or connector: none outlives it.
use std::future::Future;

use tokio_util::{sync::CancellationToken, task::TaskTracker};

#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    cancel: CancellationToken,
}

impl Tasks {
    /// Runs a future until it ends or the tasks are stopped.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let cancel = self.cancel.clone();
        self.tracker.spawn(async move {
            cancel
                .run_until_cancelled_owned(task)
                .await
                .unwrap_or_default()
        });
    }

    /// Waits until every task has ended by itself.
    pub(crate) async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Ends all tasks where they stand, and waits until they are gone.
    pub(crate) async fn stop(&self) {
        self.cancel.cancel();
        self.ended().await;
    }

    pub(crate) fn cancel(&self) {
        self.cancel.cancel();
    }
}

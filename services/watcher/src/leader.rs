//! Of several watchers one leads (coordination.k8s.io/v1 Lease). Two would do no harm, since every
//! write tests what it was derived from; they would only do the work twice.

use std::time::Duration;

use kube::Client;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder};
use sequencer_runtime::Handles;
use sequencer_runtime::error::chain;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::args::NAME;

/// How many seconds a lease lasts that nobody renews.
const DURATION: u64 = 15;

/// It is renewed so many seconds before its end: as long as one call may take.
const GRACE: u64 = 10;

/// The wait after the API server did not answer.
const RETRY: Duration = Duration::from_secs(1);

/// How often one that does not lead checks whether the leader has released the lease.
const CHECK: Duration = Duration::from_secs(2);

/// This process as one of the watchers.
pub struct Candidate {
    client: Client,
    namespace: String,
    pod: String,
    handles: Handles,
}

impl Candidate {
    /// In the release namespace, under this pod's name.
    #[must_use]
    pub fn new(client: Client, namespace: &str, pod: &str, handles: Handles) -> Self {
        Self {
            client,
            namespace: namespace.into(),
            pod: pod.into(),
            handles,
        }
    }

    /// Stands for election until shutdown, and says in `leads` whether it is won. An API server
    /// that does not answer changes nothing: nobody else gets the lease meanwhile.
    pub async fn stand(self, leads: watch::Sender<bool>) {
        let Some(mut lease) = self.lease().await else {
            return;
        };

        loop {
            let waits = !*leads.borrow();
            let changed = tokio::select! {
                () = self.handles.shutdown.stopping() => break,
                changed = lease.changed() => changed,
                // What is known of another's lease is believed until it would end.
                () = sleep(CHECK), if waits => {
                    let Some(anew) = self.lease().await else { break };
                    lease = anew;
                    continue;
                }
            };

            match changed {
                Ok(leader) => {
                    info!(leader, "Leadership changed");
                    leads.send_replace(leader);
                }
                Err(error) => {
                    warn!(error = chain(&error), "Failed to renew or read lease");
                    sleep(RETRY).await;
                }
            }
        }

        // The next one need not wait.
        if let Err(error) = lease.release().await {
            warn!(error = chain(&error), "Failed to release lease");
        }
    }

    /// The lease, made if it is missing; none if the process ends first.
    async fn lease(&self) -> Option<LeaseManager> {
        loop {
            let lease = LeaseManagerBuilder::new(self.client.clone(), NAME)
                .with_namespace(&self.namespace)
                .with_identity(&self.pod)
                .with_duration(DURATION)
                .with_grace(GRACE);
            match lease.build().await {
                Ok(lease) => return Some(lease),
                Err(error) => warn!(error = chain(&error), "Failed to make lease"),
            }

            tokio::select! {
                () = sleep(RETRY) => {}
                () = self.handles.shutdown.stopping() => return None,
            }
        }
    }
}

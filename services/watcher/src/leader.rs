//! Of several watchers one decides (coordination.k8s.io/v1 Lease). Two would do no harm, since every write tests what it
//! was derived from; they would only do the work twice.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use sequencer_runtime::Handles;
use serde_json::{Value, json};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::args::NAME;

/// How long a lease lasts that nobody renews.
const LASTS: Duration = Duration::from_secs(15);

/// How often it is renewed, or looked at.
const RENEW: Duration = Duration::from_secs(3);

/// Another one decides now, or may.
#[derive(Debug, Error)]
#[error("the lease was lost")]
pub struct Lost;

/// This process as one of the watchers.
#[derive(Debug)]
pub struct Candidate {
    api: Api<Lease>,
    me: String,
    handles: Handles,
}

/// A lease that another holds, and when its present renewal was first seen here: clocks of two nodes are not compared.
#[derive(Clone, Debug)]
struct Sighting {
    renewed: Option<MicroTime>,
    at: Instant,
}

/// What became of an attempt.
enum Attempt {
    Mine,
    /// Another one's, renewed then.
    Another(Option<MicroTime>),
}

impl Candidate {
    /// In the release namespace, under this pod's name.
    #[must_use]
    pub fn new(client: Client, namespace: &str, pod: &str, handles: Handles) -> Self {
        Self { api: Api::namespaced(client, namespace), me: pod.into(), handles }
    }

    /// Stands for election until shutdown, and says in `decides` when it is won.
    ///
    /// # Errors
    /// The lease could not be renewed in time: the process has to end.
    pub async fn stand(self, decides: watch::Sender<bool>) -> Result<(), Lost> {
        if self.elected().await {
            info!("decides from now on");
            decides.send_replace(true);
            return self.hold().await;
        }
        Ok(())
    }

    /// Waits until this one decides; false if the process ends first.
    async fn elected(&self) -> bool {
        let mut seen: Option<Sighting> = None;
        loop {
            match self.attempt(seen.as_ref()).await {
                Ok(Attempt::Mine) => return true,
                Ok(Attempt::Another(renewed)) => {
                    if seen.as_ref().is_none_or(|seen| seen.renewed != renewed) {
                        seen = Some(Sighting { renewed, at: Instant::now() });
                    }
                }
                Err(error) => warn!(%error, "cannot look at the lease"),
            }
            tokio::select! {
                () = sleep(RENEW) => {}
                () = self.handles.shutdown.stopping() => return false,
            }
        }
    }

    /// Renews the lease until shutdown, and gives it back then.
    async fn hold(self) -> Result<(), Lost> {
        let mut renewed = Instant::now();
        loop {
            tokio::select! {
                () = sleep(RENEW) => {}
                () = self.handles.shutdown.stopping() => {
                    self.give_back().await;
                    return Ok(());
                }
            }
            match self.attempt(None).await {
                Ok(Attempt::Mine) => renewed = Instant::now(),
                Ok(Attempt::Another(_)) => return Err(Lost),
                Err(error) if renewed.elapsed() + RENEW >= LASTS => {
                    warn!(%error, "the lease was not renewed in time");
                    return Err(Lost);
                }
                Err(error) => warn!(%error, "cannot renew the lease"),
            }
        }
    }

    /// Takes the lease if it is free, renews it if it is mine.
    async fn attempt(&self, seen: Option<&Sighting>) -> kube::Result<Attempt> {
        let Some(found) = self.api.get_opt(NAME).await? else {
            let lease = json!({"metadata": {"name": NAME}, "spec": self.spec()});
            let lease = serde_json::from_value(lease).map_err(kube::Error::SerdeError)?;
            return match self.api.create(&PostParams::default(), &lease).await {
                Err(kube::Error::Api(status)) if status.code == 409 => Ok(Attempt::Another(None)),
                made => made.map(|_made| Attempt::Mine),
            };
        };
        let renewed = found.spec.as_ref().and_then(|spec| spec.renew_time.clone());
        if !may_take(&found, &self.me, seen) {
            return Ok(Attempt::Another(renewed));
        }
        let operations = json!([
            {"op": "test", "path": "/metadata/resourceVersion", "value": found.metadata.resource_version},
            {"op": "add", "path": "/spec", "value": self.spec()},
        ]);
        match self.patch(operations).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409 | 422) => Ok(Attempt::Another(renewed)),
            taken => taken.map(|()| Attempt::Mine),
        }
    }

    fn spec(&self) -> Value {
        json!({"holderIdentity": self.me, "leaseDurationSeconds": LASTS.as_secs(), "renewTime": MicroTime(Timestamp::now())})
    }

    /// The next one need not wait.
    async fn give_back(&self) {
        let operations = json!([
            {"op": "test", "path": "/spec/holderIdentity", "value": self.me},
            {"op": "replace", "path": "/spec/holderIdentity", "value": ""},
        ]);
        if let Err(error) = self.patch(operations).await {
            warn!(%error, "the lease was not given back");
        }
    }

    async fn patch(&self, operations: Value) -> kube::Result<()> {
        let patch = Patch::<()>::Json(serde_json::from_value(operations).map_err(kube::Error::SerdeError)?);
        self.api.patch(NAME, &PatchParams::default(), &patch).await.map(drop)
    }
}

/// Whether a lease is mine, nobody's, or was not renewed as long as it lasts.
fn may_take(found: &Lease, me: &str, seen: Option<&Sighting>) -> bool {
    let Some(spec) = &found.spec else { return true };
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    let over = |seen: &Sighting| seen.renewed == spec.renew_time && seen.at.elapsed() >= LASTS;
    holder.is_empty() || holder == me || seen.is_some_and(over)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str, second: i64) -> Lease {
        let renewed = MicroTime(Timestamp::from_second(second).unwrap());
        serde_json::from_value(json!({"spec": {"holderIdentity": holder, "renewTime": renewed}})).unwrap()
    }

    #[test]
    fn a_lease_is_taken_when_it_is_free_mine_or_not_renewed_for_long() {
        let seen = |second, ago| Sighting {
            renewed: lease("b", second).spec.unwrap().renew_time,
            at: Instant::now().checked_sub(Duration::from_secs(ago)).unwrap(),
        };
        assert!(may_take(&lease("", 1), "a", None) && may_take(&lease("a", 1), "a", None));
        assert!(!may_take(&lease("b", 1), "a", None));
        assert!(!may_take(&lease("b", 1), "a", Some(&seen(1, 14))));
        assert!(may_take(&lease("b", 1), "a", Some(&seen(1, 15))));
        assert!(!may_take(&lease("b", 2), "a", Some(&seen(1, 60))));
    }
}

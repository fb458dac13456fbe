//! Deleting a tunnel: connector, tunnel, and last the copy of the credential, so that nothing of the tenant's namespace is
//! needed.

use std::collections::BTreeSet;

use kube::ResourceExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use sequencer_api::status::State;
use sequencer_api::{Workspace, labels};
use sequencer_runtime::bus::Outcome;
use sequencer_runtime::claim::Verdict;
use tokio::time::timeout;
use tracing::{info, warn};

use super::handle::Task;
use super::{owner, wanted};
use crate::error::Error;
use crate::handle::{Broken, Service};

impl Service {
    /// Claims the section, and deletes.
    pub(super) async fn tear_down(&self, mut task: Task, workspace: &Workspace) -> Result<Outcome, Broken> {
        if task.section.intents.is_empty() {
            // Before the first act there is an intent: nothing was ever made, or all of it is gone.
            return gone(task).await;
        }
        match self.claim(&task.section.section) {
            Verdict::Elsewhere(_) => return Ok(Outcome::ClaimedElsewhere),
            Verdict::Poison => {
                let error = Error::Poison(self.args.shared.periods.poison_retry);
                return self.tunnel_failed(task, &error).await;
            }
            Verdict::Take(claim) => {
                task.section.section.state = Some(State::Deleting);
                // Nothing outside is touched as long as its pods are there, and that needs no claim.
                if let Err(error) = self.stop_connector(&task).await {
                    return self.tunnel_failed(task, &error).await;
                }
                task.section.section.claim = Some(claim);
            }
        }
        task.write().await?;
        self.tear_down_claimed(task, workspace).await
    }

    pub(super) async fn tear_down_claimed(&self, mut task: Task, workspace: &Workspace) -> Result<Outcome, Broken> {
        let removed = timeout(self.deadline(), Box::pin(self.remove_all(&mut task, workspace))).await;
        let removed = removed.unwrap_or_else(|_elapsed| Err(Error::Unknown("Cloudflare", self.args.quarantine)));
        let abandoned = workspace.annotations().get(labels::ABANDON_EXTERNAL) == workspace.uid().as_ref()
            && workspace.uid().is_some();
        match removed {
            Ok(()) => gone(task).await,
            Err(error) if abandoned && !error.is_waiting() => {
                warn!(error = %error, "an administrator gave up the tunnel");
                match task.connector.forget().await {
                    Ok(()) => gone(task).await,
                    Err(error) => self.tunnel_failed(task, &error).await,
                }
            }
            Err(error) => self.tunnel_failed(task, &error).await,
        }
    }

    /// Deletes the connector, and fails as long as it is there.
    pub(super) async fn stop_connector(&self, task: &Task) -> Result<(), Error> {
        if task.connector.stop().await? { Ok(()) } else { Err(Error::StillThere("the connector", self.args.probe)) }
    }

    /// Deletes everything that the intents name, and what the provider has under our name.
    pub(super) async fn remove_all(&self, task: &mut Task, workspace: &Workspace) -> Result<(), Error> {
        self.stop_connector(task).await?;
        task.connector.open().await?;
        let name = owner(workspace).tunnel(&self.args.cluster_id);
        let intents = task.section.intents.iter();
        let mut places: BTreeSet<_> = intents.map(|intent| (intent.account_id.clone(), intent.name.clone())).collect();
        places.extend(task.section.account_id.iter().map(|account| (account.clone(), name.clone())));
        let copy = task.connector.credential().await?;
        for (account, name) in &places {
            self.delete_tunnel(task, workspace, copy.as_ref(), account, name).await?;
            info!(tunnel = name, "a tunnel is deleted");
        }
        // As long as this stands, everything above can be done again.
        task.connector.forget().await
    }

    /// With the copy, or with the tenant's own credential where that is still there and the copy does not do.
    pub(super) async fn delete_tunnel(
        &self,
        task: &mut Task,
        workspace: &Workspace,
        copy: Option<&SecretString>,
        account: &str,
        name: &str,
    ) -> Result<(), Error> {
        let refused = match copy {
            Some(copy) => match self.tunnels(copy.clone(), account).delete(name).await {
                Err(error @ Error::TunnelRefused(_)) => Some(error),
                deleted => return deleted,
            },
            None => None,
        };
        let Some((_, tunnel)) = wanted(&workspace.spec) else {
            return Err(refused
                .unwrap_or_else(|| Error::TunnelRefused("there is no credential to delete the tunnel with".into())));
        };
        let own = match self.token(task, workspace, &tunnel.secret_key_ref).await {
            Ok(own) => own,
            Err(error) => return Err(refused.unwrap_or(error)),
        };
        match refused {
            Some(refused) if copy.is_some_and(|copy| copy.expose_secret() == own.expose_secret()) => Err(refused),
            _ => self.tunnels(own, account).delete(name).await,
        }
    }
}

/// Records that nothing is left.
async fn gone(mut task: Task) -> Result<Outcome, Broken> {
    let section = &mut task.section;
    section.intents.clear();
    (section.id, section.hostname, section.connector, section.credential_ref) = (None, None, None, None);
    task.finish(State::Gone);
    task.write().await?;
    Ok(Outcome::Done)
}

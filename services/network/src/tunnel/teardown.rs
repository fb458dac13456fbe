//! Deleting a tunnel: connector, tunnel, and last the copy of the credential, so that nothing of
//! the tenant's namespace is needed.

use std::collections::BTreeSet;

use kube::ResourceExt as _;
use secrecy::{ExposeSecret as _, SecretString};
use sequencer_api::names::Owner;
use sequencer_api::status::State;
use sequencer_api::status::workspace::TunnelSection;
use sequencer_api::{Workspace, labels};
use sequencer_runtime::section::{End, SecretReader, Stop, Work};
use tracing::{info, warn};

use super::handle::{CLOUDFLARE, HOST, TunnelHandler};
use super::section::gone;
use crate::error::Error;
use crate::service::credential;

/// What is still there, in messages.
pub(super) const CONNECTOR: &str = "the connector";

impl TunnelHandler<'_> {
    /// Claims the section, and deletes.
    pub(super) async fn tear_down(
        &self,
        work: &mut Work<TunnelSection>,
        workspace: &Workspace,
    ) -> Result<End, Stop> {
        if work.section.intents.is_empty() {
            // Before the first act there is an intent: nothing was ever made, or all of it is gone.
            return Ok(gone(&mut work.section));
        }

        // Nothing outside is touched as long as its pods are there, and that needs no claim.
        work.claimable()?;
        if !self.connector(workspace).delete_deployment().await? {
            return Ok(self.still_there(CONNECTOR, State::Deleting));
        }

        work.claim(State::Deleting).await?;
        self.remove(work, workspace).await
    }

    /// Deletes everything under a claim.
    pub(super) async fn remove(
        &self,
        work: &mut Work<TunnelSection>,
        workspace: &Workspace,
    ) -> Result<End, Stop> {
        let secrets = work.secrets();
        let removed = self
            .0
            .act(
                CLOUDFLARE,
                self.remove_all(&work.section, &secrets, workspace),
            )
            .await;

        let uid = workspace.uid();
        let abandoned =
            uid.is_some() && workspace.annotations().get(labels::ABANDON_EXTERNAL) == uid.as_ref();

        match removed {
            Ok(None) => Ok(gone(&mut work.section)),
            Ok(Some(what)) => Ok(self.still_there(what, State::Deleting)),
            Err(error) if abandoned => {
                warn!(%error, "An administrator gave up the tunnel");
                self.connector(workspace).delete_secret().await?;
                Ok(gone(&mut work.section))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes everything that the intents name, and what the provider has under our name. Returns
    /// what is still there.
    async fn remove_all(
        &self,
        section: &TunnelSection,
        secrets: &SecretReader,
        workspace: &Workspace,
    ) -> Result<Option<&'static str>, Error> {
        let connector = self.connector(workspace);
        if !connector.delete_deployment().await? {
            return Ok(Some(CONNECTOR));
        }

        connector.delete_network_policy().await?;

        let name = Owner::of(workspace).tunnel(&self.0.args.hosts.cluster_id);
        let intended = section
            .intents
            .iter()
            .map(|intent| (&intent.account_id, &intent.name));
        let places: BTreeSet<_> = intended
            .chain(section.account_id.iter().map(|account| (account, &name)))
            .collect();
        let copy = connector.credential().await?;

        for (account, name) in places {
            let still_there = self
                .delete_tunnel(secrets, workspace, copy.as_ref(), account, name)
                .await?;
            if still_there.is_some() {
                return Ok(still_there);
            }
            info!(tunnel = name, "Deleted tunnel");
        }

        // As long as this stands, everything above can be done again.
        connector.delete_secret().await?;
        Ok(None)
    }

    /// With the copy, or with the tenant's own credential where that is still there and the copy
    /// does not do. Returns what is still there.
    pub(super) async fn delete_tunnel(
        &self,
        secrets: &SecretReader,
        workspace: &Workspace,
        copy: Option<&SecretString>,
        account: &str,
        name: &str,
    ) -> Result<Option<&'static str>, Error> {
        let refused = match copy {
            Some(copy) => match self.tunnels(copy.clone(), account).delete(name).await {
                Err(error @ Error::TunnelRefused(_)) => Some(error),
                deleted => return deleted,
            },
            None => None,
        };

        let Some(tunnel) = workspace.tunnel() else {
            return Err(refused.unwrap_or_else(|| {
                Error::TunnelRefused("there is no credential to delete the tunnel with".into())
            }));
        };

        let own = match credential(secrets, &tunnel.secret_key_ref, HOST).await {
            Ok(own) => own,
            Err(error) => return Err(refused.unwrap_or(error)),
        };

        let tried = copy.is_some_and(|copy| copy.expose_secret() == own.expose_secret());

        match refused {
            Some(refused) if tried => Err(refused),
            _ => self.tunnels(own, account).delete(name).await,
        }
    }
}

//! Deleting a tunnel: connector, tunnel, and last the copy of the credential, so that nothing of
//! the tenant's namespace is needed.

use std::collections::BTreeSet;

use secrecy::{ExposeSecret as _, SecretString};
use sequencer_api::Workspace;
use sequencer_api::names::Owner;
use sequencer_api::status::State;
use sequencer_api::status::workspace::TunnelSection;
use sequencer_runtime::error::chain;
use sequencer_runtime::section::{End, SecretReader, Stop, Work};
use tracing::{info, warn};

use super::access::{CONNECTOR, secret_name};
use super::connector::Connector;
use super::section::{Intended, abandoned, gone, keep, places};
use crate::cloudflare;
use crate::error::Error;
use crate::service::{Service, credential};

/// The end of a Workspace's tunnel.
pub(super) struct Teardown<'a> {
    service: &'a Service,
    workspace: &'a Workspace,
    connector: Connector,
}

impl<'a> Teardown<'a> {
    pub(super) fn new(service: &'a Service, workspace: &'a Workspace) -> Self {
        Self {
            service,
            workspace,
            connector: service.connector(workspace),
        }
    }

    /// Claims the section, and deletes.
    pub(super) async fn run(&self, work: &mut Work<TunnelSection>) -> Result<End, Stop> {
        if work.section.intents.is_empty() {
            // Before the first act there is an intent: nothing was ever made, or all of it is gone.
            return Ok(gone(&mut work.section));
        }

        // Nothing outside is touched as long as its pods are there, and that needs no claim.
        work.claimable()?;
        if !self.connector.delete_deployment().await? {
            return Ok(self.still_there(CONNECTOR));
        }

        work.claim(State::Deleting).await?;
        self.remove(work).await
    }

    /// Deletes everything under a claim. What an administrator gave up is tried once more.
    pub(super) async fn remove(&self, work: &mut Work<TunnelSection>) -> Result<End, Stop> {
        let secrets = work.secrets();
        let removal = self.remove_all(&mut work.section, &secrets);

        match self.service.act(cloudflare::NAME, removal).await {
            Ok(None) => Ok(gone(&mut work.section)),
            Ok(Some(what)) => Ok(self.still_there(what)),
            Err(error) if self.workspace.is_abandoned() && error.is_outside() => {
                warn!(error = chain(&error), "An administrator gave up the tunnel");
                self.abandon(&mut work.section).await
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes what was made for an object that is gone: nothing can be recorded of it.
    pub(super) async fn undo(&self, work: &mut Work<TunnelSection>) {
        let secrets = work.secrets();
        let removal = self.remove_all(&mut work.section, &secrets);

        match self.service.act(cloudflare::NAME, removal).await {
            Ok(None) => info!("Undid a tunnel whose object is gone"),
            Ok(Some(what)) => warn!(what, "Left a tunnel whose object is gone"),
            Err(error) => warn!(
                error = chain(&error),
                "Failed to undo a tunnel whose object is gone"
            ),
        }
    }

    /// Deletes what is in the cluster, and leaves the rest behind.
    async fn abandon(&self, section: &mut TunnelSection) -> Result<End, Stop> {
        if !self.connector.delete_deployment().await? {
            return Ok(self.still_there(CONNECTOR));
        }

        self.connector.delete_network_policy().await?;
        self.connector.delete_secret().await?;
        Ok(abandoned(section))
    }

    /// Deletes everything that the intents name, and what the provider has under our name. Returns
    /// what is still there.
    async fn remove_all(
        &self,
        section: &mut TunnelSection,
        secrets: &SecretReader,
    ) -> Result<Option<&'static str>, Error> {
        if !self.connector.delete_deployment().await? {
            return Ok(Some(CONNECTOR));
        }

        self.connector.delete_network_policy().await?;

        let name = Owner::of(self.workspace).tunnel(&self.service.args.hosts.cluster_id);
        let places = places(section, &name);
        let still_there = self.delete_tunnels(section, secrets, places).await?;
        if still_there.is_none() {
            // As long as this stands, everything above can be done again.
            self.connector.delete_secret().await?;
        }

        Ok(still_there)
    }

    /// Deletes tunnels of other accounts than this one, which an earlier spec named, with the
    /// credential that they were made with, or with the newest. Returns what is still there.
    pub(super) async fn leave_others(
        &self,
        section: &mut TunnelSection,
        secrets: &SecretReader,
        account: &str,
    ) -> Result<Option<&'static str>, Error> {
        let others: BTreeSet<_> = section
            .intents
            .iter()
            .filter(|intent| intent.account_id != account)
            .map(Intended::from)
            .collect();
        if others.is_empty() {
            return Ok(None);
        }

        if !self.connector.delete_deployment().await? {
            return Ok(Some(CONNECTOR));
        }

        self.delete_tunnels(section, secrets, others).await
    }

    /// Deletes each of these tunnels, whatever becomes of the others. Returns what is still there.
    async fn delete_tunnels(
        &self,
        section: &mut TunnelSection,
        secrets: &SecretReader,
        intended: BTreeSet<Intended>,
    ) -> Result<Option<&'static str>, Error> {
        let copy = self.connector.credential().await?;
        let (mut gone, mut still_there, mut failure) = (BTreeSet::new(), None, None);

        for tunnel in intended {
            match self.delete_tunnel(secrets, copy.as_ref(), &tunnel).await {
                Ok(None) => {
                    info!(tunnel = tunnel.name, "Deleted tunnel");
                    gone.insert(tunnel);
                }
                Ok(what) => still_there = what,
                Err(error) => failure = failure.or(Some(error)),
            }
        }

        keep(section, &gone);
        failure.map_or(Ok(still_there), Err)
    }

    /// With the copy, or with the tenant's own credential where that is still there and the copy
    /// does not do. Returns what is still there.
    async fn delete_tunnel(
        &self,
        secrets: &SecretReader,
        copy: Option<&SecretString>,
        tunnel: &Intended,
    ) -> Result<Option<&'static str>, Error> {
        let Intended { account, name } = tunnel;
        let spec = self.workspace.tunnel();
        let secret = spec.map_or_else(
            || self.connector.place(),
            |spec| secret_name(self.workspace, &spec.secret_key_ref),
        );
        let tunnels = |token| self.service.tunnels(token, account, secret.clone());

        let refused = match copy {
            Some(copy) => match tunnels(copy.clone()).delete(name).await {
                Err(error @ Error::TunnelRefused(_)) => Some(error),
                deleted => return deleted,
            },
            None => None,
        };

        let Some(spec) = spec else {
            return Err(refused.unwrap_or(Error::NoCredential));
        };

        let own = match credential(secrets, &spec.secret_key_ref, cloudflare::HOST).await {
            Ok(own) => own,
            Err(error) => return Err(refused.unwrap_or(error)),
        };

        let tried = copy.is_some_and(|copy| copy.expose_secret() == own.expose_secret());

        match refused {
            Some(refused) if tried => Err(refused),
            _ => tunnels(own).delete(name).await,
        }
    }

    fn still_there(&self, what: &'static str) -> End {
        self.service.still_there(what, State::Deleting)
    }
}

//! The verb `tunnel`: a Workspace's tunnel, made and kept so.

use std::time::Duration;

use kube::ResourceExt as _;
use secrecy::SecretString;
use sequencer_api::code::Code;
use sequencer_api::host::Lock;
use sequencer_api::names::Owner;
use sequencer_api::status::State;
use sequencer_api::status::workspace::TunnelSection;
use sequencer_api::workspace::{CloudflareTunnel, ObjectRef};
use sequencer_api::{Workspace, labels};
use sequencer_runtime::bus::Outcome;
use sequencer_runtime::section::{End, Finality, Handler, Meanwhile, SecretReader, Stop, Work};
use serde_json::Value;
use tracing::info;

use super::access::secret_name;
use super::cloudflare::{self, Tunnels};
use super::configuration;
use super::connector::{API_TOKEN, Connector, TOKEN, ready};
use super::section::{intend, intends, only_connection_is_missing, was_made};
use super::teardown::Teardown;
use crate::cloudflare::{HOST, NAME};
use crate::error::Error;
use crate::patience::{poll, state};
use crate::service::{Service, credential};

/// How long the handler itself waits for the connector, before it records that and leaves it to the
/// next message: longer than one mostly takes whose image is present.
const PATIENCE: Duration = Duration::from_secs(6);

/// The wait between two checks meanwhile.
const PAUSE: Duration = Duration::from_millis(300);

/// So many checks without a connection are a failure.
const SLOW: i32 = 24;

/// Makes tunnels with their connectors, and takes them down.
pub(crate) struct TunnelHandler<'a>(pub(crate) &'a Service);

/// What a Workspace's tunnel shall be, and with what it is made.
struct Tunnel<'a> {
    workspace: &'a Workspace,
    name: String,
    token: SecretString,
    tunnels: Tunnels,
    connector: Connector,
    config: Value,
}

/// Whether the connector is connected.
enum Connection {
    Connected,
    Missing(String),
}

impl Handler for TunnelHandler<'_> {
    type Section = TunnelSection;

    async fn handle(&self, work: &mut Work<TunnelSection>) -> Result<End, Stop> {
        let workspace = work.object();
        let deleting = work.is_deleting();
        let spec = workspace.tunnel().filter(|_| !deleting);
        let ours = workspace
            .finalizers()
            .iter()
            .any(|finalizer| finalizer == labels::WORKSPACE_FINALIZER);
        if !ours || (spec.is_none() && !deleting && work.section.intents.is_empty()) {
            return Ok(End::Nothing(Outcome::Stale));
        }

        let hosts = &self.0.hosts;
        let Some(spec) = spec else {
            let began = work.section.section.state == Some(State::Deleting);
            if !deleting && !began && !hosts.may_leave(&workspace).await? {
                return Ok(End::Nothing(Outcome::Stale));
            }

            work.claimable()?;
            if !work.is_due(Finality::UntilAsked, true).await {
                return Ok(End::Nothing(Outcome::Done));
            }
            return Teardown::new(self.0, &workspace).run(work).await;
        };

        // No exposure before all its hosts are held.
        let refused = match hosts.exposure(&workspace).await? {
            Lock::Held => None,
            // A message comes again once they are.
            Lock::Free => return Ok(End::Nothing(Outcome::Stale)),
            Lock::Refused(refusal) => Some(refusal),
        };

        let stands = !work.section.intents.is_empty();
        if refused.is_some() && stands && !hosts.any_held(&workspace).await? {
            return Teardown::new(self.0, &workspace).run(work).await;
        }

        work.claimable()?;
        if !work.is_due(Finality::UntilAsked, false).await {
            return Ok(End::Nothing(Outcome::Done));
        }

        match refused {
            Some(refusal) => Err(Error::from(refusal).into()),
            None => self.make(work, &workspace, spec).await,
        }
    }
}

impl TunnelHandler<'_> {
    async fn make(
        &self,
        work: &mut Work<TunnelSection>,
        workspace: &Workspace,
        spec: &CloudflareTunnel,
    ) -> Result<End, Stop> {
        // Without a credential nothing is made, and nothing has to be claimed.
        let tunnel = self.tunnel(&work.secrets(), workspace, spec).await?;

        if !work.is_asked() && only_connection_is_missing(work, spec) {
            return self.connected(work, &tunnel).await;
        }

        // Nor where what was made before is what is wanted.
        if was_made(&work.section, &spec.account_id, &tunnel.name) && self.stands(&tunnel).await? {
            return Ok(End::Reached(State::Completed));
        }

        // An account that refuses its very first question has nothing of ours: no intent is needed.
        let found = if intends(&work.section, spec, &tunnel.name) {
            None
        } else {
            Some(tunnel.tunnels.find(&tunnel.name).await?)
        };

        // The intent stands before the first act.
        let namespace = &self.0.args.tunnels_namespace;
        let place = ObjectRef {
            name: tunnel.connector.name().into(),
            namespace: Some(namespace.clone()),
        };

        intend(&mut work.section, spec, &tunnel.name, &place);
        work.claim(State::InProgress).await?;

        let secrets = work.secrets();
        let section = &mut work.section;
        let before = Teardown::new(self.0, workspace);
        let made = self.0.act(NAME, async {
            let account = &spec.account_id;
            match before.leave_others(section, &secrets, account).await? {
                Some(what) => Ok(Some(what)),
                None => {
                    let established = self.establish(section, &tunnel, place, found);
                    established.await.map(|()| None)
                }
            }
        });
        let made = made.await;

        // What was made goes again, now: nobody may come back to it.
        match work.meanwhile().await? {
            Meanwhile::Stays => {}
            Meanwhile::Deleted(now) => {
                return Teardown::new(self.0, &now).remove(work).await;
            }
            Meanwhile::Gone => {
                before.undo(work).await;
                return Ok(End::Nothing(Outcome::Gone));
            }
        }

        if let Some(what) = made? {
            return Ok(self.0.still_there(what, State::InProgress));
        }

        self.connected(work, &tunnel).await
    }

    /// Reads the credential and renders what the tunnel shall be.
    async fn tunnel<'a>(
        &self,
        secrets: &SecretReader,
        workspace: &'a Workspace,
        spec: &CloudflareTunnel,
    ) -> Result<Tunnel<'a>, Error> {
        let token = credential(secrets, &spec.secret_key_ref, HOST).await?;
        let secret = secret_name(workspace, &spec.secret_key_ref);

        let cluster = &self.0.args.hosts.cluster_id;
        let host = workspace.host(cluster).ok_or(Error::Changed)?;

        Ok(Tunnel {
            workspace,
            name: Owner::of(workspace).tunnel(cluster),
            tunnels: self.0.tunnels(token.clone(), &spec.account_id, secret),
            token,
            connector: self.0.connector(workspace),
            config: configuration(workspace, &host)?,
        })
    }

    /// Whether everything is there and connected as it shall be.
    async fn stands(&self, tunnel: &Tunnel<'_>) -> Result<bool, Error> {
        let Tunnel {
            tunnels, connector, ..
        } = tunnel;
        let Some(found) = tunnels.find(&tunnel.name).await? else {
            return Ok(false);
        };

        if !found.is_connected() || !tunnels.is_configured(&found, &tunnel.config).await? {
            return Ok(false);
        }

        let stored = [
            (API_TOKEN, &tunnel.token),
            (TOKEN, &tunnels.token(&found).await?),
        ];
        let parts = connector.parts(&self.0.args, &found.id, tunnel.workspace);
        connector.stands(&stored, &parts).await
    }

    /// Makes it so at Cloudflare and in the cluster. `found` is the tunnel that is there, if that is
    /// known.
    async fn establish(
        &self,
        section: &mut TunnelSection,
        tunnel: &Tunnel<'_>,
        place: ObjectRef,
        found: Option<Option<cloudflare::Tunnel>>,
    ) -> Result<(), Error> {
        let Tunnel {
            tunnels, connector, ..
        } = tunnel;

        connector.store(&[(API_TOKEN, &tunnel.token)]).await?;

        let found = match found {
            Some(found) => found,
            None => tunnels.find(&tunnel.name).await?,
        };
        let found = match found {
            Some(found) => found,
            None => tunnels.create(&tunnel.name).await?,
        };
        section.id = Some(found.id.clone());
        section.hostname = Some(found.hostname());
        if tunnels.configure(&found, &tunnel.config).await? {
            info!(tunnel = found.id, "Configured tunnel");
        }

        let token = tunnels.token(&found).await?;
        connector.store(&[(TOKEN, &token)]).await?;
        let parts = connector.parts(&self.0.args, &found.id, tunnel.workspace);
        connector.apply(&parts).await?;
        section.connector = Some(place);
        Ok(())
    }

    /// Waits a little for the connector. One that is not there after minutes is a failure; until
    /// then it takes its time.
    async fn connected(
        &self,
        work: &Work<TunnelSection>,
        tunnel: &Tunnel<'_>,
    ) -> Result<End, Stop> {
        let ask = || connection(tunnel);
        let will_do = |found: &Result<_, _>| !matches!(found, Ok(Connection::Missing(_)));

        match poll(PATIENCE, PAUSE, ask, will_do).await? {
            Connection::Connected => Ok(End::Reached(State::Completed)),
            Connection::Missing(why) => {
                let code = Code::ConnectorNotConnected;
                let state = state(work.waits(code), SLOW);
                Ok(self.0.waiting(code, why, state))
            }
        }
    }
}

async fn connection(tunnel: &Tunnel<'_>) -> Result<Connection, Error> {
    let deployment = tunnel.connector.read_deployment().await?;
    let (ready, why) = deployment.as_ref().map_or((0, None), ready);

    // The provider is asked only once the connector itself says so: its calls are limited.
    if ready > 0 {
        let found = tunnel.tunnels.find(&tunnel.name).await?;
        if found.is_some_and(|found| found.is_connected()) {
            return Ok(Connection::Connected);
        }
    }

    Ok(Connection::Missing(not_connected(ready, why.as_deref())))
}

/// What is missing, by how many pods of the connector are ready and why no more are.
fn not_connected(ready: i32, why: Option<&str>) -> String {
    match (ready, why) {
        (0, Some(why)) => format!("the connector is not ready: {why}"),
        (0, None) => "the connector is not ready: its pods start".into(),
        (1, _) => {
            "1 pod of the connector is ready, and Cloudflare lists no connection of it yet".into()
        }
        (ready, _) => {
            format!(
                "{ready} pods of the connector are ready, and Cloudflare lists no connection of them yet"
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_that_are_ready_are_never_called_the_reason_for_no_connection() {
        let refused = "pods \"a\" is forbidden";
        assert!(not_connected(0, Some(refused)).ends_with(refused));
        for ready in [1, 2] {
            let told = not_connected(ready, Some("Deployment has minimum availability."));
            assert!(told.contains("Cloudflare lists no connection"), "{told}");
        }
    }
}

//! The verb `tunnel`: a Workspace's tunnel, made and kept so.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Api, ResourceExt as _};
use secrecy::SecretString;
use sequencer_api::code::Code;
use sequencer_api::secret::{SecretKeyRef, SecretRef};
use sequencer_api::status::workspace::{TunnelIntent, TunnelSection};
use sequencer_api::status::{Section, State};
use sequencer_api::workspace::{CloudflareTunnel, ObjectRef};
use sequencer_api::{Workspace, labels};
use sequencer_runtime::bus::{Delivery, Outcome};
use sequencer_runtime::claim::Verdict;
use sequencer_runtime::cluster::{StatusPatch, current};
use serde_json::Value;
use tokio::time::{Instant, sleep, timeout};
use tracing::info;

use super::cloudflare::{Tunnel, Tunnels};
use super::connector::{API_TOKEN, Connector, TOKEN, ready};
use super::{PROVIDER, Routed, configuration, host, owner, routes, wanted};
use crate::cloudflare::Cloudflare;
use crate::error::Error;
use crate::handle::{Broken, Look, Service};

/// The section.
const SECTION: &str = "tunnel";
/// The host that a credential is sent to.
const HOST: &str = "api.cloudflare.com";
/// How long the handler itself waits for the connector, before it records that and leaves it to the next wake-up: longer than
/// one mostly takes whose image is present.
const PATIENCE: Duration = Duration::from_secs(6);
/// Between two looks meanwhile.
const LOOK: Duration = Duration::from_millis(300);
/// So many looks without a connection are a failure.
const SLOW: i32 = 24;

/// One Workspace under way.
pub(super) struct Task {
    pub(super) api: Api<Workspace>,
    pub(super) uid: String,
    pub(super) name: String,
    pub(super) generation: i64,
    pub(super) section: TunnelSection,
    /// The Secrets that were read, with their versions.
    pub(super) credential: BTreeMap<String, String>,
    pub(super) connector: Connector,
}

impl Service {
    /// Makes a Workspace's tunnel so, or deletes it.
    pub(crate) async fn tunnel(&self, delivery: &Delivery) -> Result<Outcome, Broken> {
        let api: Api<Workspace> = Api::namespaced(self.client.clone(), &delivery.wake.namespace);
        let uid = delivery.command.uid().to_string();
        let Some(workspace) = current(&api, &delivery.wake.name, &uid).await? else { return Ok(Outcome::Gone) };
        if !workspace.finalizers().iter().any(|finalizer| finalizer == labels::WORKSPACE_FINALIZER) {
            return Ok(Outcome::Stale);
        }
        let task =
            Task::new(api, &workspace, Connector::new(self.client.clone(), &self.args.tunnels_namespace, &workspace));
        let deleting = workspace.metadata.deletion_timestamp.is_some();
        let tunnel = wanted(&workspace.spec).map(|(_, tunnel)| tunnel).filter(|_| !deleting);
        let section = &task.section.section;
        if tunnel.is_none() && !deleting && task.section.intents.is_empty() {
            return Ok(Outcome::Stale);
        }
        let look = Look { generation: task.generation, deleting: tunnel.is_none(), why: &delivery.wake.why };
        if !self.is_time(section, look, &delivery.wake.namespace).await {
            return Ok(Outcome::Done);
        }
        match tunnel {
            None => self.tear_down(task, &workspace).await,
            Some(tunnel) if !look.is_asked() && task.only_connects(tunnel) => {
                self.look_again(task, &workspace, tunnel).await
            }
            Some(tunnel) => self.make_tunnel(task, &workspace, tunnel).await,
        }
    }

    async fn make_tunnel(
        &self,
        mut task: Task,
        workspace: &Workspace,
        tunnel: &CloudflareTunnel,
    ) -> Result<Outcome, Broken> {
        // Without a credential nothing is made, and nothing has to be claimed.
        let token = match self.token(&mut task, workspace, &tunnel.secret_key_ref).await {
            Ok(token) => token,
            Err(error) => return self.tunnel_failed(task, &error).await,
        };
        let claim = match self.claim(&task.section.section) {
            Verdict::Elsewhere(_) => return Ok(Outcome::ClaimedElsewhere),
            Verdict::Poison => {
                let error = Error::Poison(self.args.shared.periods.poison_retry);
                return self.tunnel_failed(task, &error).await;
            }
            Verdict::Take(claim) => claim,
        };
        match self.stands(&task, workspace, tunnel, &token).await {
            Ok(true) => return self.tunnel_done(task).await,
            Ok(false) => task.section.section.claim = Some(claim),
            Err(error) => return self.tunnel_failed(task, &error).await,
        }
        let name = owner(workspace).tunnel(&self.args.cluster_id);
        task.intend(tunnel, &name, &self.args.tunnels_namespace);
        task.write().await?;
        let made = timeout(self.deadline(), Box::pin(self.establish(&mut task, workspace, tunnel, &token))).await;
        let made = made.unwrap_or_else(|_elapsed| Err(Error::Unknown("Cloudflare", self.args.quarantine)));
        // Deleted meanwhile? What was made goes again, now: nobody may come back to it.
        match current(&task.api, &task.name, &task.uid).await? {
            Some(now) if now.metadata.deletion_timestamp.is_none() => {}
            Some(now) => {
                task.generation = now.metadata.generation.unwrap_or_default();
                return self.tear_down_claimed(task, &now).await;
            }
            None => {
                let undone = timeout(self.deadline(), Box::pin(self.remove_all(&mut task, workspace))).await;
                info!(undone = matches!(undone, Ok(Ok(()))), "the object is gone, and so is its tunnel");
                return Ok(Outcome::Gone);
            }
        }
        match made {
            Ok(()) => self.tunnel_done(task).await,
            Err(error) => self.tunnel_failed(task, &error).await,
        }
    }

    /// Whether nothing has to be made, and so nothing has to be claimed: what was made before is what is wanted.
    async fn stands(
        &self,
        task: &Task,
        workspace: &Workspace,
        tunnel: &CloudflareTunnel,
        token: &SecretString,
    ) -> Result<bool, Error> {
        let name = owner(workspace).tunnel(&self.args.cluster_id);
        if !task.was_made(&tunnel.account_id, &name) {
            return Ok(false);
        }
        let (routes, config) = self.routed(workspace, tunnel)?;
        let tunnels = self.tunnels(token.clone(), &tunnel.account_id);
        let Some(found) = tunnels.find(&name).await? else { return Ok(false) };
        if !found.is_connected() || !tunnels.is_configured(&found, &config).await? {
            return Ok(false);
        }
        let kept = [(API_TOKEN, token), (TOKEN, &tunnels.token(&found).await?)];
        task.connector.stands(&kept, &task.connector.parts(&self.args, &found.id, workspace, &routes)?).await
    }

    /// Makes it so at Cloudflare and in the cluster, and waits a little for the connector.
    async fn establish(
        &self,
        task: &mut Task,
        workspace: &Workspace,
        tunnel: &CloudflareTunnel,
        token: &SecretString,
    ) -> Result<(), Error> {
        self.leave_others(task, workspace, tunnel).await?;
        task.connector.keep(API_TOKEN, token).await?;
        let (routes, config) = self.routed(workspace, tunnel)?;
        let tunnels = self.tunnels(token.clone(), &tunnel.account_id);
        let name = owner(workspace).tunnel(&self.args.cluster_id);
        let found = tunnels.ensure(&name).await?;
        task.section.id = Some(found.id.clone());
        task.section.hostname = Some(found.hostname());
        if tunnels.configure(&found, &config).await? {
            info!(tunnel = found.id, "a tunnel is configured");
        }
        task.connector.keep(TOKEN, &tunnels.token(&found).await?).await?;
        task.connector.apply(&task.connector.parts(&self.args, &found.id, workspace, &routes)?).await?;
        task.section.connector = Some(task.place(&self.args.tunnels_namespace));
        self.connected(task, &tunnels, &name).await
    }

    /// What a tunnel serves, and its configuration for that.
    fn routed<'a>(
        &self,
        workspace: &Workspace,
        tunnel: &'a CloudflareTunnel,
    ) -> Result<(Vec<Routed<'a>>, Value), Error> {
        let (networking, _) = wanted(&workspace.spec).ok_or(Error::Changed)?;
        let routes = routes(tunnel, &host(workspace, networking, &self.args.cluster_id));
        let config = configuration(workspace, &routes)?;
        Ok((routes, config))
    }

    /// Deletes tunnels of other accounts, which an earlier spec named, with the credential that they were made with, or
    /// with the newest.
    async fn leave_others(
        &self,
        task: &mut Task,
        workspace: &Workspace,
        tunnel: &CloudflareTunnel,
    ) -> Result<(), Error> {
        let elsewhere = |intent: &&TunnelIntent| intent.account_id != tunnel.account_id;
        let others: Vec<_> = task.section.intents.iter().filter(elsewhere).cloned().collect();
        if others.is_empty() {
            return Ok(());
        }
        self.stop_connector(task).await?;
        let copy = task.connector.credential().await?;
        for other in &others {
            self.delete_tunnel(task, workspace, copy.as_ref(), &other.account_id, &other.name).await?;
        }
        task.section.intents.retain(|intent| !elsewhere(&intent));
        Ok(())
    }

    async fn connected(&self, task: &Task, tunnels: &Tunnels, name: &str) -> Result<(), Error> {
        // What comes before has its share of the deadline: a slow connector is no unknown outcome.
        let until = Instant::now() + PATIENCE.min(self.deadline().mul_f64(0.8));
        loop {
            let deployment = task.connector.deployment_now().await?;
            let (ready, why) = deployment.as_ref().map_or((0, None), ready);
            // The provider is asked only once the connector itself says so: its calls are limited.
            let connected = ready > 0 && tunnels.find(name).await?.is_some_and(|found: Tunnel| found.is_connected());
            if connected {
                return Ok(());
            }
            if Instant::now() >= until {
                let why = why.unwrap_or_else(|| format!("{ready} of its pods are ready"));
                return Err(Error::NotConnected(why, self.args.probe));
            }
            sleep(LOOK).await;
        }
    }

    /// Everything is made: only the connection is missing.
    async fn look_again(
        &self,
        mut task: Task,
        workspace: &Workspace,
        tunnel: &CloudflareTunnel,
    ) -> Result<Outcome, Broken> {
        let token = match self.token(&mut task, workspace, &tunnel.secret_key_ref).await {
            Ok(token) => token,
            Err(error) => return self.tunnel_failed(task, &error).await,
        };
        let tunnels = self.tunnels(token, &tunnel.account_id);
        match self.connected(&task, &tunnels, &owner(workspace).tunnel(&self.args.cluster_id)).await {
            Ok(()) => self.tunnel_done(task).await,
            Err(error) => self.tunnel_failed(task, &error).await,
        }
    }

    /// The credential that a Workspace names.
    pub(super) async fn token(
        &self,
        task: &mut Task,
        workspace: &Workspace,
        key: &SecretKeyRef,
    ) -> Result<SecretString, Error> {
        let from = workspace.namespace().unwrap_or_default();
        let reference = SecretRef { name: key.name.clone(), namespace: key.namespace.clone() };
        let source = format!("{}/{}", key.namespace.as_ref().unwrap_or(&from), key.name);
        task.credential = BTreeMap::from([(source.clone(), String::new())]);
        let secret = self.secrets.read(&from, &reference).await?;
        task.credential.insert(source, secret.version().into());
        secret.for_host(HOST)?;
        Ok(secret.text(&key.key)?)
    }

    pub(super) fn tunnels(&self, token: SecretString, account: &str) -> Tunnels {
        let api = Cloudflare::new(self.http.clone(), &self.args.cloudflare_url, token);
        Tunnels::new(api, account, self.args.quarantine, self.args.probe)
    }

    async fn tunnel_done(&self, mut task: Task) -> Result<Outcome, Broken> {
        let before = task.section.clone();
        task.finish(State::Completed);
        if task.section != before {
            task.write().await?;
        }
        Ok(Outcome::Done)
    }

    pub(super) async fn tunnel_failed(&self, mut task: Task, error: &Error) -> Result<Outcome, Broken> {
        self.fail(&mut task.section.section, error, &task.credential, &task.uid);
        let section = &mut task.section.section;
        // A connector that is not there after minutes is a failure; until then it takes its time.
        let slow = section.retry.as_ref().is_some_and(|retry| retry.attempts >= SLOW);
        section.observed_generation = Some(task.generation);
        section.state = Some(match error {
            Error::NotConnected(..) if !slow => State::InProgress,
            Error::StillThere(..) if section.state == Some(State::Deleting) => State::Deleting,
            Error::StillThere(..) => State::InProgress,
            _ => State::Error,
        });
        task.write().await?;
        Ok(Outcome::Recorded)
    }
}

impl Task {
    fn new(api: Api<Workspace>, workspace: &Workspace, connector: Connector) -> Self {
        Self {
            api,
            uid: workspace.uid().unwrap_or_default(),
            name: workspace.name_any(),
            generation: workspace.metadata.generation.unwrap_or_default(),
            section: workspace.status.as_ref().map(|status| status.tunnel.clone()).unwrap_or_default(),
            credential: BTreeMap::new(),
            connector,
        }
    }

    /// Whether the newest spec is made, and only the connector was not connected when it was looked at last. Now and then
    /// all of it is looked at again.
    fn only_connects(&self, tunnel: &CloudflareTunnel) -> bool {
        let Section { observed_generation, retry, claim, .. } = &self.section.section;
        let waits = retry
            .as_ref()
            .is_some_and(|retry| retry.code == Code::NOT_CONNECTED.to_string() && retry.attempts % 8 != 0);
        let made = self.section.account_id.as_ref() == Some(&tunnel.account_id) && self.section.connector.is_some();
        waits && made && claim.is_none() && *observed_generation == Some(self.generation)
    }

    /// Whether the tunnel of this name, and none of another account, was made and connected once.
    fn was_made(&self, account: &str, name: &str) -> bool {
        let ours = |intent: &TunnelIntent| intent.account_id == account && intent.name == name;
        self.section.section.state == Some(State::Completed)
            && !self.section.intents.is_empty()
            && self.section.intents.iter().all(ours)
    }

    /// What will be made, before it is.
    fn intend(&mut self, tunnel: &CloudflareTunnel, name: &str, namespace: &str) {
        let credential_ref = SecretRef { name: self.connector.name().into(), namespace: Some(namespace.into()) };
        let section = &mut self.section;
        let known = |intent: &TunnelIntent| intent.account_id == tunnel.account_id && intent.name == name;
        if !section.intents.iter().any(known) {
            section.intents.push(TunnelIntent {
                provider: PROVIDER.into(),
                account_id: tunnel.account_id.clone(),
                name: name.into(),
                credential_ref: credential_ref.clone(),
                at: Time(jiff::Timestamp::now()),
            });
        }
        section.section.state = Some(State::InProgress);
        section.provider = Some(PROVIDER.into());
        section.account_id = Some(tunnel.account_id.clone());
        section.name = Some(name.into());
        section.credential_ref = Some(credential_ref);
    }

    fn place(&self, namespace: &str) -> ObjectRef {
        ObjectRef { name: self.connector.name().into(), namespace: Some(namespace.into()) }
    }

    pub(super) fn finish(&mut self, state: State) {
        let section = &mut self.section.section;
        section.state = Some(state);
        section.observed_generation = Some(self.generation);
        section.claim = None;
        section.retry = None;
    }

    /// Writes the section over the revision that was read, and goes on from the new one.
    pub(super) async fn write(&mut self) -> Result<(), Broken> {
        let rev = self.section.section.rev;
        let patch = StatusPatch::new(&self.uid).section(SECTION, rev, &self.section)?;
        let written: Workspace = patch.apply(&self.api, &self.name).await?;
        if let Some(status) = written.status {
            self.section = status.tunnel;
        }
        Ok(())
    }
}

//! The verb `probe`: whether a Workspace's URLs answer by the public way, through real DNS and the provider's edge.

mod http;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use hickory_proto::rr::{RData, RecordType as Type};
use kube::{Api, ResourceExt as _};
use sequencer_api::Workspace;
use sequencer_api::names::rule_host;
use sequencer_api::status::State;
use sequencer_api::status::workspace::{RouteRule, RouteSection};
use sequencer_api::workspace::RouteProtocol;
use sequencer_runtime::bus::{Delivery, Outcome};
use sequencer_runtime::cluster::{StatusPatch, current};
use tokio::time::{Instant, sleep};
use tracing::info;

use crate::dns::rfc2136::absolute;
use crate::dns::server::ask;
use crate::error::Error;
use crate::handle::{Broken, Look, Service, told};
use crate::tunnel::{host, routes, wanted};

/// The section.
const SECTION: &str = "route";
/// How long the handler itself asks again, before it leaves that to the next wake-up.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two questions meanwhile.
const LOOK: Duration = Duration::from_millis(500);
/// So many looks without an answer are a failure.
const SLOW: i32 = 12;

/// A URL that shall answer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    name: String,
    host: String,
    path: String,
    url: String,
}

impl Service {
    /// Asks a Workspace's URLs.
    pub(crate) async fn probe(&self, delivery: &Delivery) -> Result<Outcome, Broken> {
        let api: Api<Workspace> = Api::namespaced(self.client.clone(), &delivery.wake.namespace);
        let uid = delivery.command.uid().to_string();
        let Some(workspace) = current(&api, &delivery.wake.name, &uid).await? else { return Ok(Outcome::Gone) };
        let targets = self.targets(&workspace);
        if workspace.metadata.deletion_timestamp.is_some() || targets.is_empty() {
            return Ok(Outcome::Stale);
        }
        let mut section = workspace.status.as_ref().map(|status| status.route.clone()).unwrap_or_default();
        let generation = workspace.metadata.generation.unwrap_or_default();
        let look = Look { generation, deleting: false, why: &delivery.wake.why };
        if !self.is_time(&section.section, look, &delivery.wake.namespace).await {
            return Ok(Outcome::Done);
        }
        let same = section.section.observed_generation == Some(generation);
        if !same {
            section.section.retry = None;
        }
        let looks = section.section.retry.as_ref().map_or(0, |retry| retry.attempts);
        let failed = self.ask_all(&workspace, &targets, &mut section, looks).await;
        section.section.observed_generation = Some(generation);
        section.section.state = Some(State::Healthy);
        match &failed {
            None => (section.section.retry, section.section.claim) = (None, None),
            Some(error) => {
                self.fail(&mut section.section, error, &Default::default(), &uid);
                section.section.state = Some(if looks < SLOW { State::InProgress } else { State::Error });
            }
        }
        let rev = section.section.rev;
        let patch = StatusPatch::new(&uid).section(SECTION, rev, &section)?;
        let _: Workspace = patch.apply(&api, &workspace.name_any()).await?;
        if failed.is_none() {
            info!(urls = targets.len(), "the URLs answer");
        }
        Ok(if failed.is_none() { Outcome::Done } else { Outcome::Recorded })
    }

    /// Asks all URLs, for some seconds; the first failure that is left.
    async fn ask_all(
        &self,
        workspace: &Workspace,
        targets: &[Target],
        section: &mut RouteSection,
        looks: i32,
    ) -> Option<Error> {
        let until = Instant::now() + PATIENCE;
        loop {
            let answers = join_all(targets.iter().map(|target| self.answer(workspace, target, looks))).await;
            let mut failed = None;
            section.rules.clear();
            for (target, (status, error)) in targets.iter().zip(answers) {
                section.rules.push(rule(target, status, error.as_ref()));
                failed = failed.or(error);
            }
            if failed.is_none() || Instant::now() >= until {
                return failed;
            }
            sleep(LOOK).await;
        }
    }

    /// The status of a URL's answer, and why it does not count.
    async fn answer(&self, workspace: &Workspace, target: &Target, looks: i32) -> (Option<u16>, Option<Error>) {
        let addresses = match self.addresses(workspace, target).await {
            Ok(addresses) => addresses,
            Err(error) => return (None, Some(error)),
        };
        let no_answer = |why: String| Error::NoAnswer(format!("{}: {why}", target.url), self.args.probe);
        match http::get(self.outside.http(), &target.host, &addresses, &target.url).await {
            Ok(answer) => {
                let why = http::judge(&answer, looks < SLOW);
                (Some(answer.status), why.map(no_answer))
            }
            Err(why) => (None, Some(no_answer(why))),
        }
    }

    /// Where DNS says that a host is. An ingress may have a private address.
    async fn addresses(&self, workspace: &Workspace, target: &Target) -> Result<Vec<SocketAddr>, Error> {
        let found = self.resolve(&target.host).await;
        if found.is_empty() {
            return Err(Error::NoAnswer(format!("{}: DNS has no address for the host", target.url), self.args.probe));
        }
        let own = self.ingress_addresses(workspace).await;
        let checked = found.iter().map(|address| match self.outside.check(&target.host, *address) {
            Err(denied) if !own.contains(address) => Err(denied),
            _ => Ok(SocketAddr::new(*address, 0)),
        });
        let (good, denied): (Vec<_>, Vec<_>) = checked.partition(Result::is_ok);
        match denied.into_iter().find_map(Result::err) {
            Some(denied) if good.is_empty() => Err(denied.into()),
            _ => Ok(good.into_iter().flatten().collect()),
        }
    }

    async fn ingress_addresses(&self, workspace: &Workspace) -> BTreeSet<IpAddr> {
        let addresses = workspace.status.iter().flat_map(|status| &status.ingress.addresses);
        let mut own = BTreeSet::new();
        for address in addresses {
            own.extend(address.ip.as_ref().and_then(|ip| ip.parse::<IpAddr>().ok()));
            if let Some(host) = &address.hostname {
                own.extend(self.resolve(host).await);
            }
        }
        own
    }

    /// By DNS itself: no file and no search list of this pod.
    async fn resolve(&self, host: &str) -> Vec<IpAddr> {
        let Ok(name) = absolute(host) else { return Vec::new() };
        let (four, six) =
            tokio::join!(ask(self.resolver, &name, Type::A, true), ask(self.resolver, &name, Type::AAAA, true));
        let found = four.unwrap_or_default().into_iter().chain(six.unwrap_or_default());
        let addresses = found.filter_map(|(_, data)| match data {
            RData::A(address) => Some(IpAddr::V4(address.0)),
            RData::AAAA(address) => Some(IpAddr::V6(address.0)),
            _ => None,
        });
        addresses.collect()
    }

    /// What shall answer: every route of a tunnel that speaks HTTP, or every rule of an ingress.
    fn targets(&self, workspace: &Workspace) -> Vec<Target> {
        let Some(networking) = &workspace.spec.networking else { return Vec::new() };
        let host = host(workspace, networking, &self.args.cluster_id);
        if let Some((_, tunnel)) = wanted(&workspace.spec) {
            let web = |protocol| matches!(protocol, RouteProtocol::Http | RouteProtocol::Https);
            let routes = routes(tunnel, &host).into_iter().filter(|routed| web(routed.route.protocol));
            let scheme = &self.args.tunnel_url_scheme;
            return routes.map(|routed| target(routed.name, scheme, &routed.host, &routed.route.path)).collect();
        }
        let Some(ingress) = &networking.ingress else { return Vec::new() };
        let tls = ingress.tls.as_ref().map_or(self.args.ingress_tls, |tls| tls.enabled);
        let scheme = if tls { "https" } else { "http" };
        let rules = ingress.rules.iter();
        rules.map(|rule| target(&rule.name, scheme, &rule_host(rule.subdomain.as_deref(), &host), &rule.path)).collect()
    }
}

fn target(name: &str, scheme: &str, host: &str, path: &str) -> Target {
    Target { name: name.into(), host: host.into(), path: path.into(), url: format!("{scheme}://{host}{path}") }
}

fn rule(target: &Target, status: Option<u16>, error: Option<&Error>) -> RouteRule {
    RouteRule {
        name: target.name.clone(),
        host: target.host.clone(),
        path: target.path.clone(),
        url: target.url.clone(),
        http_status: status.map(i32::from),
        failure: error.map(told),
    }
}

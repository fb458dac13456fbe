//! The verb `probe`: whether a Workspace's URLs answer by the public way, through real DNS and the
//! provider's edge.

mod http;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use hickory_proto::rr::{RData, RecordType as Type};
use sequencer_api::Workspace;
use sequencer_api::code::Code;
use sequencer_api::host::{Lock, Schemes};
use sequencer_api::routes::Routed;
use sequencer_api::status::workspace::{RouteRule, RouteSection};
use sequencer_api::status::{self, State};
use sequencer_runtime::bus::Outcome;
use sequencer_runtime::section::{End, Failing, Finality, Handler, Stop, Work};
use tracing::info;

use crate::dns::rfc2136::absolute;
use crate::dns::server::ask;
use crate::error::Error;
use crate::patience::{is_early, poll, state};
use crate::service::Service;

/// How long the handler itself asks again, before it leaves that to the next message.
const PATIENCE: Duration = Duration::from_secs(3);

/// The wait between two of these.
const PAUSE: Duration = Duration::from_millis(500);

/// So many probes without an answer are a failure.
const SLOW: i32 = 12;

/// A route that shall answer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    name: String,
    host: String,
    path: String,
    /// As people see it.
    url: String,
    /// What is asked.
    asked: String,
    /// Whether it speaks HTTP; else it has to take a connection.
    is_web: bool,
}

/// The status of a URL's answer, and why it does not count.
type Answer = (Option<u16>, Option<Fault>);

/// Asks a Workspace's URLs.
pub(crate) struct ProbeHandler<'a>(pub(crate) &'a Service);

/// Why a URL does not count.
enum Fault {
    /// It does not answer as it should, yet.
    NoAnswer(String),
    /// It may not be asked.
    Failed(Error),
}

impl Handler for ProbeHandler<'_> {
    type Section = RouteSection;

    async fn handle(&self, work: &mut Work<RouteSection>) -> Result<End, Stop> {
        let workspace = work.object();
        let targets = self.0.targets(&workspace);
        if work.is_deleting() || targets.is_empty() {
            return Ok(End::Nothing(Outcome::Stale));
        }

        if self.0.hosts.exposure(&workspace).await? != Lock::Held {
            // What answers there is somebody else's.
            return Ok(End::Nothing(Outcome::Stale));
        }

        if !work.is_due(Finality::Polled, false).await {
            return Ok(End::Nothing(Outcome::Done));
        }

        let waits = work.waits(Code::UrlNotAnswering);
        let (rules, fault) = self.0.ask_all(&workspace, &targets, waits).await;
        work.section.rules = rules;

        match fault {
            None => {
                if !work.section.section.is(State::Healthy, work.generation()) {
                    info!(urls = targets.len(), "URLs answer");
                }
                let status = workspace.status.as_ref();
                work.section.commit = status.and_then(|status| status.commit.clone());
                Ok(End::Reached(State::Healthy))
            }
            Some(Fault::Failed(error)) => Err(error.into()),
            Some(Fault::NoAnswer(why)) => {
                let state = state(waits, SLOW);
                Ok(self.0.waiting(Code::UrlNotAnswering, why, state))
            }
        }
    }
}

impl Service {
    /// Asks all URLs, for some seconds: what each of them said, and the first fault that is left.
    async fn ask_all(
        &self,
        workspace: &Workspace,
        targets: &[Target],
        waits: i32,
    ) -> (Vec<RouteRule>, Option<Fault>) {
        let ask_each = || {
            let asked = targets
                .iter()
                .map(|target| self.ask(workspace, target, waits));
            join_all(asked)
        };
        let will_do =
            |answers: &Vec<Answer>| answers.iter().all(|(_status, fault)| fault.is_none());
        let answers = poll(PATIENCE, PAUSE, ask_each, will_do).await;

        let rules = targets
            .iter()
            .zip(&answers)
            .map(|(target, answer)| rule(target, answer))
            .collect();
        let fault = answers.into_iter().find_map(|(_status, fault)| fault);
        (rules, fault)
    }

    /// The status of a URL's answer, and why it does not count.
    async fn ask(&self, workspace: &Workspace, target: &Target, waits: i32) -> Answer {
        let verb = if target.is_web { "GET " } else { "" };
        let no_answer = |why: String| Fault::NoAnswer(format!("{verb}{} {why}", target.url));
        let addresses = match self.addresses(workspace, target).await {
            Ok(addresses) => addresses,
            Err(error) => return (None, Some(Fault::Failed(error))),
        };

        if addresses.is_empty() {
            let why = "failed: DNS has no address for the host".to_owned();
            return (None, Some(no_answer(why)));
        }

        let client = self
            .egress
            .http()
            .resolve_to_addrs(&target.host, &addresses);
        let answer = if target.is_web {
            http::get(client, &target.asked).await
        } else {
            http::connect(client, &target.asked).await
        };
        match answer {
            Ok(answer) => {
                let why = if target.is_web {
                    http::judge(&answer, is_early(waits, SLOW))
                } else {
                    http::judge_connection(&answer)
                };
                (Some(answer.status), why.map(no_answer))
            }
            Err(why) => (None, Some(no_answer(format!("failed: {why}")))),
        }
    }

    /// Where DNS says that a host is. An ingress may have a private address.
    async fn addresses(
        &self,
        workspace: &Workspace,
        target: &Target,
    ) -> Result<Vec<SocketAddr>, Error> {
        let found = self.resolve(&target.host).await;
        let own = self.ingress_addresses(workspace).await;
        let checked = found
            .iter()
            .map(|address| match self.egress.check(&target.host, *address) {
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
        let addresses = workspace
            .status
            .iter()
            .flat_map(|status| &status.ingress.addresses);
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
        let Ok(name) = absolute(host) else {
            return Vec::new();
        };

        let (four, six) = tokio::join!(
            ask(self.resolver, &name, Type::A, true),
            ask(self.resolver, &name, Type::AAAA, true)
        );
        let found = four
            .unwrap_or_default()
            .into_iter()
            .chain(six.unwrap_or_default());
        let addresses = found.filter_map(|(_, data)| match data {
            RData::A(address) => Some(IpAddr::V4(address.0)),
            RData::AAAA(address) => Some(IpAddr::V6(address.0)),
            _ => None,
        });
        addresses.collect()
    }

    /// What shall answer: every route of a tunnel, or every rule of an ingress.
    fn targets(&self, workspace: &Workspace) -> Vec<Target> {
        let Some(host) = workspace.host(&self.args.hosts.cluster_id) else {
            return Vec::new();
        };

        let schemes = Schemes::from(&self.args.urls);
        let scheme = workspace.scheme(&schemes);
        let routes = workspace.routes().into_iter();

        routes
            .map(|routed| target(&routed, scheme, routed.host(&host)))
            .collect()
    }
}

fn target(routed: &Routed<'_>, scheme: &str, host: String) -> Target {
    let path = routed.path;
    let asked = format!("{scheme}://{host}{path}");

    Target {
        name: routed.name.unwrap_or("route").into(),
        path: path.into(),
        url: routed
            .bare_scheme()
            .map_or_else(|| asked.clone(), |scheme| format!("{scheme}://{host}")),
        asked,
        is_web: routed.bare_scheme().is_none(),
        host,
    }
}

fn rule(target: &Target, (status, fault): &Answer) -> RouteRule {
    RouteRule {
        name: target.name.clone(),
        host: target.host.clone(),
        path: target.path.clone(),
        url: target.url.clone(),
        http_status: status.map(i32::from),
        failure: fault.as_ref().map(Fault::status),
    }
}

impl Fault {
    /// The fault as people see it.
    fn status(&self) -> status::Failure {
        match self {
            Self::Failed(error) => Failing::of(error).status(),
            Self::NoAnswer(why) => status::Failure::new(Code::UrlNotAnswering, why),
        }
    }
}

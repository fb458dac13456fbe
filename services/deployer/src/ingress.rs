//! A Workspace reconciled: its Ingress is there, and its section says the address.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::{LoadBalancerStatus, Service as CoreService};
use k8s_openapi::api::networking::v1::{Ingress, IngressLoadBalancerStatus};
use kube::Api;
use kube::api::DynamicObject;
use kube::runtime::controller::Action;
use sequencer_api::Workspace;
use sequencer_api::code::Code;
use sequencer_api::host::{Lock, Refusal};
use sequencer_api::names::Owner;
use sequencer_api::status::workspace::{Address, IngressSection};
use sequencer_api::status::{State, StatusSection as _};
use sequencer_api::stored::Stored as _;
use sequencer_api::workspace::{Ingress as Spec, ObjectRef};
use sequencer_runtime::apply::revision;
use sequencer_runtime::section::Versions;
use sequencer_runtime::status_writer::Difference;
use serde::Deserialize as _;
use serde_json::Value;

use crate::apply::Apply;
use crate::error::{Error, ObjectError};
use crate::plan::ingress::{IngressPlan, plan};
use crate::plan::{Object, PORT, owner_reference};
use crate::reconcile::{Reconciled, next};
use crate::section::{Derived, begin, failed, until_retry};
use crate::service::Service;

/// How often a load balancer is read that has no address: nothing reports when somebody else's
/// Service gets one.
const POLL: Duration = Duration::from_secs(5);

impl Reconciled for Workspace {
    async fn reconcile(service: &Service, namespace: &str, name: &str) -> Result<Action, Error> {
        let api: Api<Self> = Api::namespaced(service.client().clone(), namespace);
        let Some(workspace) = api.get_opt(name).await? else {
            return Ok(Action::await_change());
        };

        if service.is_still_entered(&workspace).await? {
            return Ok(Action::requeue(POLL));
        }

        let after = match service.expose(&workspace).await {
            Err(Error::Deleting { .. }) => return Ok(Action::requeue(POLL)),
            exposed => exposed?,
        };

        let Some(after) = after else {
            return Ok(Action::await_change());
        };

        let later = service.record_ingress(&api, &workspace, &after).await?;
        let again = reads_again(&workspace, &after).or_else(|| until_retry(&after.section));
        Ok(next([again, later]))
    }
}

impl Service {
    /// Whether visitors come by an Ingress that the spec does not have any more, until the way in
    /// that takes its place answers.
    async fn is_still_entered(&self, workspace: &Workspace) -> Result<bool, Error> {
        let stays = workspace.metadata.deletion_timestamp.is_none();
        if !stays || workspace.tunnel().is_none() {
            return Ok(false);
        }

        let apply = Apply::new(self.client().clone(), workspace.namespace_str());
        let Some(found) = apply.standing(&named(workspace)?).await? else {
            return Ok(false);
        };
        if self.hosts().may_leave(workspace).await? {
            return Ok(false);
        }
        let held = self.hosts().held(workspace, served_hosts(&found)).await?;
        Ok(held == Lock::Held)
    }

    /// Makes the Ingress so, or deletes the one that is not wanted any more. None: there is nothing
    /// to do.
    async fn expose(&self, workspace: &Workspace) -> Result<Option<IngressSection>, Error> {
        let namespace = workspace.namespace_str();
        let apply = Apply::new(self.client().clone(), namespace);
        let before = IngressSection::of(workspace);
        let deleting = workspace.metadata.deletion_timestamp.is_some();
        let networking = workspace.spec.networking.as_ref();
        let ingress = networking.and_then(|networking| networking.ingress.as_ref());

        if let Some(spec) = ingress.filter(|_spec| !deleting) {
            return match self.serve(workspace, spec, &apply).await {
                Err(Error::Object(error)) => Ok(Some(self.broken(workspace, &error))),
                served => served.map(Some),
            };
        }

        // What was made last need not be recorded yet.
        apply.remove(&named(workspace)?).await?;
        let asked = ingress.is_some() || before.section.state.is_some();
        let generation = workspace.generation();
        let recorded = if deleting {
            !asked || before.section.is(State::Gone, generation)
        } else {
            before.name.is_none()
        };

        Ok((!recorded).then(|| alone(begin(workspace, State::Gone))))
    }

    async fn serve(
        &self,
        workspace: &Workspace,
        spec: &Spec,
        apply: &Apply,
    ) -> Result<IngressSection, Error> {
        let lock = self.hosts().exposure(workspace).await?;
        let host = workspace.host(&self.hosts().zones.cluster_id);
        let (Lock::Held, Some(host)) = (&lock, host) else {
            let kept = self.withdraw(workspace, apply).await?;
            let section = match lock {
                Lock::Refused(refusal) => self.broken(workspace, &ObjectError::Host(refusal)),
                Lock::Free | Lock::Held => begin(workspace, State::Waiting),
            };

            return Ok(if kept { section } else { alone(section) });
        };

        let plan = plan(workspace, spec, &host, self.settings())?;
        let found = apply.get(&plan.object).await?;
        let object = self.as_named(workspace, &plan, found.as_ref()).await?;
        let made = apply.write(&object, found).await?;
        let made = Ingress::deserialize(serde_json::to_value(&made)?)?;
        let addresses = match &spec.load_balancer_ref {
            Some(reference) => self.load_balancer(workspace, reference).await?,
            None => of_ingress(made.status.and_then(|status| status.load_balancer)),
        };

        Ok(section(workspace, plan, addresses))
    }

    /// The Ingress by the names that the ports of its Services have. An earlier version gave them
    /// others, and a Component that is paused keeps them.
    async fn as_named(
        &self,
        workspace: &Workspace,
        plan: &IngressPlan,
        found: Option<&DynamicObject>,
    ) -> Result<Object, Error> {
        if found.is_some_and(|found| revision(found) == plan.object.revision()) {
            return Ok(plan.object.clone());
        }

        let namespace = workspace.namespace_str();
        let api: Api<CoreService> = Api::namespaced(self.client().clone(), namespace);
        let mut others = BTreeSet::new();
        for rule in &plan.rules {
            let service = api.get_opt(&rule.service).await?;
            if service.is_some_and(|service| !has_named_port(&service)) {
                others.insert(rule.service.clone());
            }
        }
        Ok(if others.is_empty() {
            plan.object.clone()
        } else {
            plan.by_numbers_of(&others)
        })
    }

    /// Deletes an Ingress that serves a host which the Workspace does not hold: another one's
    /// visitors would come to it. What an earlier spec named, and is still held, is kept. Tells
    /// whether an Ingress is there afterwards.
    async fn withdraw(&self, workspace: &Workspace, apply: &Apply) -> Result<bool, Error> {
        let object = named(workspace)?;
        let Some(found) = apply.standing(&object).await? else {
            return Ok(false);
        };

        if self.hosts().held(workspace, served_hosts(&found)).await? == Lock::Held {
            return Ok(true);
        }

        apply.delete(&object.resource, &found).await?;
        Ok(false)
    }

    /// The addresses of a Service that a Workspace names.
    async fn load_balancer(
        &self,
        workspace: &Workspace,
        reference: &ObjectRef,
    ) -> Result<Vec<Address>, Error> {
        let own = workspace.namespace_str();
        let namespace = reference.namespace.as_deref().unwrap_or(own);
        let api: Api<CoreService> = Api::namespaced(self.client().clone(), namespace);
        let Some(found) = api.get_opt(&reference.name).await? else {
            let message = format!(
                "networking.ingress.loadBalancerRef: no Service {namespace}/{}",
                reference.name
            );
            return Err(Refusal::new(Code::LoadBalancerNotFound, message).into());
        };

        Ok(of_service(
            found.status.and_then(|status| status.load_balancer),
        ))
    }

    /// It could not be made.
    fn broken(&self, workspace: &Workspace, error: &ObjectError) -> IngressSection {
        // No Secret is read for it.
        failed(workspace, error, Versions::new(), self.waits())
    }

    async fn record_ingress(
        &self,
        api: &Api<Workspace>,
        workspace: &Workspace,
        after: &IngressSection,
    ) -> Result<Option<Duration>, Error> {
        let derived = Derived {
            object: workspace,
            section: after,
            difference: difference(&IngressSection::of(workspace), after),
        };

        self.record(api, derived).await
    }
}

/// How one section differs from another for those who read it.
fn difference(before: &IngressSection, after: &IngressSection) -> Option<Difference> {
    if before == after {
        return None;
    }

    let state = after.section.state;
    let goes_on = matches!(state, Some(State::InProgress | State::Waiting));
    // By what is recorded it is known what has to be taken down, and what is served.
    let served = |section: &IngressSection| (section.name.clone(), section.rules.clone());

    Some(if goes_on && served(before) == served(after) {
        Difference::Progress
    } else {
        Difference::Outcome
    })
}

/// When to read an object again that is not watched, for its address.
fn reads_again(workspace: &Workspace, after: &IngressSection) -> Option<Duration> {
    let ingress = workspace.spec.networking.as_ref()?.ingress.as_ref()?;
    let waits = after.section.state == Some(State::InProgress);
    (waits && ingress.load_balancer_ref.is_some()).then_some(POLL)
}

/// How far it has come, and nothing that is served.
fn alone(section: IngressSection) -> IngressSection {
    IngressSection {
        section: section.section,
        ..IngressSection::default()
    }
}

fn section(
    workspace: &Workspace,
    plan: IngressPlan,
    mut addresses: Vec<Address>,
) -> IngressSection {
    addresses.truncate(16);
    let state = if addresses.is_empty() {
        State::InProgress
    } else {
        State::Completed
    };

    let begun: IngressSection = begin(workspace, state);

    IngressSection {
        section: begun.section,
        kind: Some(plan.object.resource.kind.clone()),
        name: Some(plan.object.name().into()),
        class_name: plan.class,
        addresses,
        rules: plan.rules,
        tls_secret: plan.tls_secret,
    }
}

fn of_ingress(status: Option<IngressLoadBalancerStatus>) -> Vec<Address> {
    let points = status
        .and_then(|status| status.ingress)
        .unwrap_or_default()
        .into_iter();
    points
        .map(|point| Address {
            ip: point.ip,
            hostname: point.hostname,
        })
        .collect()
}

fn of_service(status: Option<LoadBalancerStatus>) -> Vec<Address> {
    let points = status
        .and_then(|status| status.ingress)
        .unwrap_or_default()
        .into_iter();
    points
        .map(|point| Address {
            ip: point.ip,
            hostname: point.hostname,
        })
        .collect()
}

/// The Workspace's Ingress by its name and owner alone.
fn named(workspace: &Workspace) -> Result<Object, Error> {
    let name = Owner::of(workspace).ingress();
    let body = serde_json::json!({
        "metadata": {"name": name, "ownerReferences": [owner_reference(workspace)?]},
    });
    Ok(Object::new::<Ingress>(body))
}

fn has_named_port(service: &CoreService) -> bool {
    let spec = service.spec.iter();
    let mut ports = spec.flat_map(|spec| spec.ports.iter().flatten());
    ports.any(|port| port.name.as_deref() == Some(PORT))
}

fn served_hosts(ingress: &DynamicObject) -> BTreeSet<String> {
    let rules = ingress
        .data
        .pointer("/spec/rules")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    rules
        .filter_map(|rule| rule["host"].as_str())
        .map(Into::into)
        .collect()
}

//! The step of a Workspace with an ingress: its Ingress is there, and its status tells the address.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::{LoadBalancerStatus, Service as CoreService};
use k8s_openapi::api::networking::v1::{Ingress, IngressLoadBalancerStatus};
use kube::api::{DynamicObject, ListParams};
use kube::{Api, ResourceExt as _};
use sequencer_api::code::Code;
use sequencer_api::host::{Lock, Refusal};
use sequencer_api::names::Owner;
use sequencer_api::status::State;
use sequencer_api::status::workspace::{Address, IngressSection};
use sequencer_api::workspace::{Ingress as Spec, ObjectRef};
use sequencer_api::{Component, Workspace, labels};
use sequencer_proto::topics::Verb;
use sequencer_runtime::bus::Outcome;
use sequencer_runtime::section::StatusPatch;
use serde::Deserialize as _;
use serde_json::Value;

use crate::apply::Apply;
use crate::error::Error;
use crate::failure::Failed;
use crate::handle::{Done, Service};
use crate::plan::ingress::{IngressPlan, plan};
use crate::plan::{Object, workspace_owner};
use crate::queue::Key;
use crate::record::QUIET;

/// How often a load balancer is looked at that has no address: nothing tells when somebody else's
/// Service gets one.
const LOOK: Duration = Duration::from_secs(5);

impl Service {
    /// Reads, plans, acts and records.
    pub(crate) async fn ingress(&self, key: &Key, uid: Option<&str>) -> Result<Done, Error> {
        let api: Api<Workspace> = Api::namespaced(self.client().clone(), &key.namespace);
        let found = api.get_opt(&key.name).await?;
        let Some(workspace) =
            found.filter(|found| uid.is_none_or(|uid| found.metadata.uid.as_deref() == Some(uid)))
        else {
            if uid.is_none() {
                // A Component of its own is its own Workspace.
                self.queue().add(
                    Key {
                        verb: Verb::Deploy,
                        ..key.clone()
                    },
                    Duration::ZERO,
                );
            }
            self.memory().forget(key);
            return Ok(Done::new(Outcome::Gone));
        };
        let deleting = workspace.metadata.deletion_timestamp.is_some();
        if uid.is_none() && !deleting {
            self.wake_components(key).await?;
        }
        let before = workspace
            .status
            .as_ref()
            .map(|status| status.ingress.clone())
            .unwrap_or_default();
        let networking = workspace
            .spec
            .networking
            .as_ref()
            .filter(|_networking| !deleting);
        let spec = networking.and_then(|networking| networking.ingress.as_ref());
        let apply = Apply::new(self.client().clone(), &key.namespace);
        let Some(spec) = spec else {
            // What was made last need not be recorded yet when a Workspace is deleted.
            let done = if deleting {
                before.section.state == Some(State::Gone)
            } else {
                before.name.is_none()
            };
            if done {
                return Ok(Done::new(Outcome::Stale));
            }
            apply.remove(&named(&workspace)).await?;
            return self
                .record_ingress(key, &workspace, before, gone(&workspace))
                .await;
        };
        let after = match self.serve(&workspace, spec, &apply, &before).await {
            Ok(after) => after,
            Err(Error::Deleting { .. }) => {
                return Ok(Done {
                    outcome: Outcome::Done,
                    again: Some(LOOK),
                });
            }
            Err(error) => self.failed_ingress(&workspace, &before, error)?,
        };
        self.record_ingress(key, &workspace, before, after).await
    }

    async fn serve(
        &self,
        workspace: &Workspace,
        spec: &Spec,
        apply: &Apply,
        before: &IngressSection,
    ) -> Result<IngressSection, Error> {
        let lock = self.hosts().exposure(workspace).await?;
        if lock != Lock::Held {
            let kept = self.withdraw(workspace, apply).await?;
            let section = match lock {
                Lock::Refused(refusal) => {
                    self.failed_ingress(workspace, before, Error::Host(refusal))?
                }
                Lock::Free | Lock::Held => begin(workspace, State::Waiting),
            };
            return Ok(if kept {
                section
            } else {
                IngressSection {
                    section: section.section,
                    ..Default::default()
                }
            });
        }
        let host = workspace
            .host(&self.hosts().zones.cluster_id)
            .unwrap_or_default();
        let plan = plan(workspace, spec, &host, self.settings())?;
        let made = apply.ensure(&plan.object).await?;
        let made = Ingress::deserialize(serde_json::to_value(&made)?)?;
        let addresses = match &spec.load_balancer_ref {
            Some(reference) => self.load_balancer(workspace, reference).await?,
            None => of_ingress(made.status.and_then(|status| status.load_balancer)),
        };
        Ok(section(workspace, plan, addresses))
    }

    /// Deletes an Ingress that serves a host which the Workspace does not hold: another one's
    /// visitors would come to it. What an earlier spec named, and is still held, is kept. Tells
    /// whether an Ingress is there afterwards.
    async fn withdraw(&self, workspace: &Workspace, apply: &Apply) -> Result<bool, Error> {
        let object = named(workspace);
        let Some(found) = apply.standing(&object).await? else {
            return Ok(false);
        };
        if self.hosts().held(workspace, served_hosts(&found)).await? == Lock::Held {
            return Ok(true);
        }
        apply.delete(&object, &found).await?;
        Ok(false)
    }

    /// The addresses of a Service that a Workspace names.
    async fn load_balancer(
        &self,
        workspace: &Workspace,
        reference: &ObjectRef,
    ) -> Result<Vec<Address>, Error> {
        let own = workspace.namespace().unwrap_or_default();
        let namespace = reference.namespace.as_deref().unwrap_or(&own);
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

    /// What a Workspace has once may have gone: its Components make it again.
    async fn wake_components(&self, key: &Key) -> Result<(), Error> {
        let api: Api<Component> = Api::namespaced(self.client().clone(), &key.namespace);
        let labels = format!("{}={}", labels::WORKSPACE, key.name);
        let found = api
            .list_metadata(&ListParams::default().labels(&labels).limit(1))
            .await?;
        for component in found {
            let key = Key {
                verb: Verb::Deploy,
                namespace: key.namespace.clone(),
                name: component.name_any(),
            };
            self.queue().add(key, Duration::ZERO);
        }
        Ok(())
    }

    fn failed_ingress(
        &self,
        workspace: &Workspace,
        before: &IngressSection,
        error: Error,
    ) -> Result<IngressSection, Error> {
        let Some(code) = error.code() else {
            return Err(error);
        };
        let mut after = begin(workspace, State::Error);
        let failure = Failed {
            code,
            message: error.to_string(),
            retry: error.retry(),
            secrets: error.secrets(),
        };
        let retry = failure.retry(&before.section, &workspace.metadata, self.waits());
        after.section.retry = Some(retry);
        Ok(after)
    }

    async fn record_ingress(
        &self,
        key: &Key,
        workspace: &Workspace,
        before: IngressSection,
        after: IngressSection,
    ) -> Result<Done, Error> {
        let uid = workspace.uid().unwrap_or_default();
        let waits = matches!(
            after.section.state,
            Some(State::InProgress | State::Waiting)
        );
        let look = looks_elsewhere(workspace)
            .filter(|_look| after.section.state == Some(State::InProgress));
        if before == after {
            self.memory().same(key);
            return Ok(Done {
                outcome: Outcome::Done,
                again: look,
            });
        }
        let (differs, _) = self.memory().times(key);
        // That it is there is recorded at once: by that it is known what has to be taken down.
        let made = before.name.is_none() && after.name.is_some();
        if let Some(left) = QUIET
            .checked_sub(differs)
            .filter(|left| waits && !made && !left.is_zero())
        {
            return Ok(Done {
                outcome: Outcome::Done,
                again: Some(left),
            });
        }
        let patch = StatusPatch::new(&uid).section("ingress", before.section.rev, &after)?;
        let api: Api<Workspace> = Api::namespaced(self.client().clone(), &key.namespace);
        let _: Workspace = patch.apply(&api, &workspace.name_any()).await?;
        self.memory().written(key);
        let failed = after.section.state == Some(State::Error);
        Ok(Done {
            outcome: if failed {
                Outcome::Recorded
            } else {
                Outcome::Done
            },
            again: look,
        })
    }
}

/// Whether the address is that of an object which nothing tells about.
fn looks_elsewhere(workspace: &Workspace) -> Option<Duration> {
    let networking = workspace.spec.networking.as_ref()?;
    networking
        .ingress
        .as_ref()?
        .load_balancer_ref
        .as_ref()
        .map(|_reference| LOOK)
}

fn begin(workspace: &Workspace, state: State) -> IngressSection {
    let mut section = workspace
        .status
        .as_ref()
        .map(|status| status.ingress.clone())
        .unwrap_or_default();
    section.section.state = Some(state);
    section.section.observed_generation = workspace.metadata.generation;
    section.section.retry = None;
    section
}

fn gone(workspace: &Workspace) -> IngressSection {
    IngressSection {
        section: begin(workspace, State::Gone).section,
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
    IngressSection {
        section: begin(workspace, state).section,
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
fn named(workspace: &Workspace) -> Object {
    let (name, uid) = (workspace.name_any(), workspace.uid().unwrap_or_default());
    let body = serde_json::json!({
        "metadata": {"name": Owner { name: &name, uid: &uid }.ingress(), "ownerReferences": [workspace_owner(workspace)]},
    });
    Object::new::<Ingress>(body)
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

//! The step of a Component: what it asks for runs, and its status tells how that is.

mod section;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ApiResource, DynamicObject};
use sequencer_api::Component;
use sequencer_api::dependencies::{siblings, unmet};
use sequencer_api::status::State;
use sequencer_api::status::component::DeploySection;
use sequencer_runtime::bus::Outcome;
use sequencer_runtime::section::StatusPatch;
use serde::Deserialize as _;

use crate::apply::{Apply, revision};
use crate::error::Error;
use crate::handle::{Done, Service};
use crate::plan::{Object, Plan, View, Workload, is_deployment, is_job, plan};
use crate::pull::Versions;
use crate::queue::Key;
use crate::readiness::{self, Health};
use crate::record::{Write, write};
use crate::{logs, read};

/// How soon something is looked at again that is being deleted before it can be made anew.
const DELETING: Duration = Duration::from_secs(1);

/// What a step came to: the section, and when to look again.
type Reached = (DeploySection, Option<Duration>);

impl Service {
    /// Reads, plans, acts and records. `uid` is the object that a message spoke of.
    pub(crate) async fn deploy(&self, key: &Key, uid: Option<&str>) -> Result<Done, Error> {
        let api: Api<Component> = Api::namespaced(self.client().clone(), &key.namespace);
        let found = api.get_opt(&key.name).await?;
        let Some(component) =
            found.filter(|found| uid.is_none_or(|uid| found.metadata.uid.as_deref() == Some(uid)))
        else {
            self.memory().forget(key);
            return Ok(Done::new(Outcome::Gone));
        };
        if component.metadata.deletion_timestamp.is_some() {
            self.memory().forget(key);
            return Ok(Done::new(Outcome::Stale));
        }
        let Some(view) = read::view(self.client(), component).await? else {
            return Ok(Done::new(Outcome::Stale));
        };
        let deleting = view
            .workspace
            .as_ref()
            .is_some_and(|workspace| workspace.metadata.deletion_timestamp.is_some());
        if deleting {
            return Ok(Done::new(Outcome::Stale));
        }
        let reached = match self.reach(&view).await {
            Ok(reached) => reached,
            Err(Error::Deleting { .. }) => {
                return Ok(Done {
                    outcome: Outcome::Done,
                    again: Some(DELETING),
                });
            }
            Err(error) => (section::failed(&view, error, self.waits())?, None),
        };
        self.record(key, &api, &view, reached).await
    }

    /// Makes the cluster so, as far as it may be now.
    async fn reach(&self, view: &View) -> Result<Reached, Error> {
        let plan = plan(view, self.settings())?;
        let apply = Apply::new(self.client().clone(), view.namespace());
        // On what was read now.
        let mut waiting = unmet(&view.template().depends_on, &siblings(&view.siblings));
        let workload = match &plan.workload {
            Ok(workload) => workload,
            Err(missing) => {
                self.surround(view, &apply, &plan).await?;
                waiting.extend(missing.clone());
                return Ok((section::waiting(view, &plan, waiting), None));
            }
        };
        let found = apply.get(&workload.object).await?;
        let runs = found.as_ref().map(serde_json::to_value).transpose()?;
        let started = runs.as_ref().and_then(revision) == Some(&workload.revision)
            || section::before(view).revision.as_ref() == Some(&workload.revision);
        if view.component.spec.paused && !started {
            return Ok((section::waiting(view, &plan, Vec::new()), None));
        }
        self.surround(view, &apply, &plan).await?;
        if !started && !waiting.is_empty() {
            return Ok((section::waiting(view, &plan, waiting), None));
        }
        if found.is_none() && section::has_run(view, workload) {
            return Ok((section::still_done(view, &plan), None));
        }
        let logins = match self.provide(view, &apply, workload).await {
            // What runs has pulled its image. If it has to again and cannot, its pods tell.
            Err(error @ (Error::Secret(_) | Error::Login { .. })) if started && found.is_some() => {
                error.secrets()
            }
            provided => provided?,
        };
        let there = run(&apply, workload, found).await?;
        tidy(view, &apply, &plan, workload).await?;
        let health = self.health(view, workload, &there).await?;
        let again = health.again;
        let mut section = self.told(view, &plan, workload, health).await;
        section::retry_pull(view, &mut section, logins, self.waits());
        Ok((section, again))
    }

    /// What may be there before anything runs.
    async fn surround(&self, view: &View, apply: &Apply, plan: &Plan) -> Result<(), Error> {
        let of_component = |object: &&Object| object.owner() == view.uid();
        for object in plan.surroundings.iter().filter(of_component) {
            apply.ensure(object).await?;
        }
        for object in plan
            .surroundings
            .iter()
            .filter(|object| !of_component(object))
        {
            // Components of one Workspace start together, and each would make it.
            let _one = self.shared().lock(view.owner().uid).await;
            apply.ensure(object).await?;
        }
        // Whatever the pods wait for: what is not published any more is closed at once.
        match &plan.unwanted {
            Some(object) => apply.remove(object).await,
            None => Ok(()),
        }
    }

    /// What has to be there before the pods start.
    async fn provide(
        &self,
        view: &View,
        apply: &Apply,
        workload: &Workload,
    ) -> Result<Versions, Error> {
        self.provide_variables(view, &workload.used).await?;
        let logins = self.provide_pull(view, &workload.used).await?;
        for claim in &workload.claims {
            apply.ensure(claim).await?;
        }
        Ok(logins)
    }

    async fn health(
        &self,
        view: &View,
        workload: &Workload,
        there: &DynamicObject,
    ) -> Result<Health, Error> {
        let before = section::before(view);
        let was_well = matches!(
            before.section.state,
            Some(State::Healthy | State::Completed)
        ) && before.revision.as_ref() == Some(&workload.revision);
        let (there, now) = (serde_json::to_value(there)?, Timestamp::now());
        let look = |pods: &[Pod]| -> Result<Health, Error> {
            Ok(if is_deployment(&workload.object) {
                readiness::deployment(
                    &Deployment::deserialize(&there)?,
                    pods,
                    &workload.revision,
                    now,
                )
            } else {
                readiness::job(&Job::deserialize(&there)?, pods, &workload.revision, now)
            })
        };
        let health = look(&[])?;
        let well = matches!(health.state, State::Healthy | State::Completed);
        if well && was_well {
            Ok(health)
        } else {
            look(&read::pods(self.client(), view).await?)
        }
    }

    /// The section of something that was made, with the log of what is wrong.
    async fn told(
        &self,
        view: &View,
        plan: &Plan,
        workload: &Workload,
        health: Health,
    ) -> DeploySection {
        let known = section::same_failure(view, workload, health.trouble.as_ref());
        let mut lines = Vec::new();
        if let (None, Some(log)) = (
            &known,
            health
                .trouble
                .as_ref()
                .and_then(|trouble| trouble.log.as_ref()),
        ) {
            let template = workload
                .object
                .body
                .pointer("/spec/template")
                .cloned()
                .unwrap_or_default();
            let secrets = self.secret_values(view, &template).await;
            lines = logs::tail(self.client(), view.namespace(), log, &secrets).await;
        }
        section::running(view, plan, workload, &health, known, lines)
    }

    async fn record(
        &self,
        key: &Key,
        api: &Api<Component>,
        view: &View,
        (after, again): Reached,
    ) -> Result<Done, Error> {
        let before = section::before(view);
        let (differs, written) = self.memory().times(key);
        match write(&before, &after, view.is_awaited(), differs, written) {
            Write::Nothing => {
                self.memory().same(key);
                Ok(Done {
                    outcome: Outcome::Done,
                    again,
                })
            }
            Write::Later(later) => {
                let again = again.map_or(later, |again| again.min(later));
                Ok(Done {
                    outcome: Outcome::Done,
                    again: Some(again),
                })
            }
            Write::Now => {
                let patch =
                    StatusPatch::new(view.uid()).section("deploy", before.section.rev, &after)?;
                let _: Component = patch.apply(api, view.name()).await?;
                self.memory().written(key);
                let failed = after.section.state == Some(State::Error);
                Ok(Done {
                    outcome: if failed {
                        Outcome::Recorded
                    } else {
                        Outcome::Done
                    },
                    again,
                })
            }
        }
    }
}

/// Starts it, or rolls a new revision out. A Job cannot be changed: it is run anew.
async fn run(
    apply: &Apply,
    workload: &Workload,
    found: Option<DynamicObject>,
) -> Result<DynamicObject, Error> {
    let object = &workload.object;
    let found = match found {
        Some(found) if !is_deployment(object) => {
            if revision(&serde_json::to_value(&found)?) == Some(&workload.revision) {
                return Ok(found);
            }
            apply.delete(object, &found).await?;
            None
        }
        found => found,
    };
    apply.write(object, found).await
}

/// Deletes what was made for this Component and is not planned any more.
async fn tidy(view: &View, apply: &Apply, plan: &Plan, workload: &Workload) -> Result<(), Error> {
    let before = section::before(view);
    let kind = workload.object.resource.kind.as_str();
    if before.kind.as_deref().is_some_and(|before| before != kind) {
        let resource = if is_job(view.template()) {
            ApiResource::erase::<Deployment>(&())
        } else {
            ApiResource::erase::<Job>(&())
        };
        let other = Object {
            resource,
            ..workload.object.clone()
        };
        if let Ok(Some(found)) = apply.get(&other).await {
            apply.delete(&other, &found).await?;
        }
    }
    let planned = |name: &str| plan.services.iter().any(|service| service.name == name);
    if before.services.iter().all(|service| planned(&service.name)) {
        return Ok(());
    }
    let resource = ApiResource::erase::<k8s_openapi::api::core::v1::Service>(&());
    let services = Object {
        resource,
        ..workload.object.clone()
    };
    for service in apply
        .list(&services, &read::of_component(view.name()), view.uid())
        .await?
    {
        if !service.metadata.name.as_deref().is_some_and(planned) {
            apply.delete(&services, &service).await?;
        }
    }
    Ok(())
}

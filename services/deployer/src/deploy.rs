//! A Component reconciled: what it asks for runs, and its section says how that is.

mod held;
mod run;
mod section;
mod surround;
mod unplanned;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::DynamicObject;
use kube::runtime::controller::Action;
use sequencer_api::Component;
use sequencer_api::code::Code;
use sequencer_api::host::Refusal;
use sequencer_api::status::State;
use sequencer_api::status::component::{DeploySection, WaitingFor};
use sequencer_proto::topics::Verb;
use sequencer_runtime::cluster::secret::Secrets;
use sequencer_runtime::error::chain;
use sequencer_runtime::section::SecretReader;
use sequencer_runtime::telemetry::join_workspace;
use serde::Deserialize as _;
use tracing::{Instrument as _, info_span, warn};

use crate::apply::{Apply, revision};
use crate::error::{Error, ObjectError};
use crate::plan::{Plan, Serving, View, Workload, is_deployment, plan, wanted_logins};
use crate::readiness::{self, Health, LogOf, probes};
use crate::reconcile::{Reconciled, next};
use crate::section::{Derived, until_retry};
use crate::service::Service;
use crate::{logs, read};

/// The wait for something that is being deleted before it can be made anew.
const DELETING: Duration = Duration::from_secs(1);

/// The wait for what siblings do, so that the status says what is still missing.
const WAITING: Duration = Duration::from_secs(10);

/// What a reconcile came to: the section, and when to reconcile again although nothing changes.
type Reached = (DeploySection, Option<Duration>);

impl Reconciled for Component {
    async fn reconcile(service: &Service, namespace: &str, name: &str) -> Result<Action, Error> {
        let api: Api<Self> = Api::namespaced(service.client().clone(), namespace);
        let Some(view) = service.observe(&api, name).await? else {
            return Ok(Action::await_change());
        };

        let span = info_span!("reconcile", verb = Verb::Deploy.word(), namespace, name);
        join_workspace(&span, view.trace());

        let secrets = Secrets::new(service.client().clone());
        let secrets = SecretReader::new(secrets, namespace);

        let reconciled = async {
            let (mut after, again) = match service.roll_out(&view, &secrets).await {
                Err(Error::Deleting { .. }) => return Ok(Action::requeue(DELETING)),
                Err(Error::Object(error)) => {
                    let failed = section::broken(&view, &error, &secrets, service.waits());
                    let again = until_retry(&failed.section);
                    (failed, again)
                }
                reached => reached?,
            };
            after.section.asked = view.asked().or(after.section.asked);

            let later = service.record_deploy(&api, &view, &after).await?;
            let leaves = view.leaves_ingress().then_some(WAITING);
            Ok(next([again, later, leaves]))
        };

        reconciled.instrument(span).await
    }
}

impl Service {
    /// Reads what the plan needs. None: the Component or its Workspace goes, and so does everything
    /// that was made for it.
    async fn observe(&self, api: &Api<Component>, name: &str) -> Result<Option<View>, Error> {
        let stays = |component: &Component| component.metadata.deletion_timestamp.is_none();
        let Some(component) = api.get_opt(name).await?.filter(stays) else {
            return Ok(None);
        };

        let view = read::view(self.client(), component).await?;

        Ok(view.filter(|view| {
            let workspace = view.workspace.as_ref();
            workspace.is_none_or(|workspace| workspace.metadata.deletion_timestamp.is_none())
        }))
    }

    /// Makes the cluster as the plan has it, as far as it may be now.
    async fn roll_out(&self, view: &View, secrets: &SecretReader) -> Result<Reached, Error> {
        let heard = self.settled().heard(view.uid(), view.owner().uid);
        let plan = plan(view, self.settings())?;
        let fingerprint = plan.fingerprint();
        let is_settled = self.settled().is_settled(view.uid(), &fingerprint, heard);
        let apply = Apply::new(self.client().clone(), view.namespace());

        // Whatever the pods wait for: what is not published any more is closed at once.
        if !is_settled {
            unplanned::close(view, &apply, &plan).await?;
        }

        // What it waits for, by what was read now.
        let mut waiting = held::by_dependencies(view);
        let workload = match &plan.workload {
            Ok(workload) => workload,
            Err(missing) => {
                waiting.extend(missing.clone());
                return self.hold(view, &apply, &plan, waiting).await;
            }
        };

        waiting.extend(held::by_builds(view, &workload.used));

        let found = apply.get(&workload.object).await?;
        let started = is_started(view, workload, found.as_ref())?;
        if !started && (view.component.spec.paused || !waiting.is_empty()) {
            return self.hold(view, &apply, &plan, waiting).await;
        }

        // What runs.
        let mut is_planned = is_settled;
        if !is_settled {
            let serving = match &found {
                Some(_) => self.serving(view, &plan).await?,
                None => Serving::default(),
            };
            is_planned = self.surround(view, &apply, &plan, &serving).await?;
        }
        let turning = (!is_planned).then(|| workload.while_turning());
        let workload = turning.as_ref().unwrap_or(workload);

        if found.is_none() && section::has_run(view, workload) {
            return Ok((section::still_done(view, &plan, workload), None));
        }

        match self.provide(view, workload, secrets).await {
            // What runs has pulled its image. If it has to again and cannot, its pods show it.
            Err(Error::Object(ObjectError::Credentials(_))) if started && found.is_some() => {}
            provided => provided?,
        }
        // A Job has done its work, or is at it, with the claim that it has.
        let unclaimed = claim(&apply, workload, found.is_some()).await?;
        let unclaimed = unclaimed.filter(|_refusal| is_deployment(&workload.object));

        let is_waiting = !waiting.is_empty();
        let (there, turn) = self.run(view, &apply, workload, found, is_waiting).await?;
        if !is_settled {
            unplanned::tidy(view, &apply, &plan, workload).await?;
            if is_planned {
                self.settled().settle(view.uid(), fingerprint, heard);
            }
        }

        // How it is.
        let health = self.health(view, workload, &there).await?;
        let has_secrets =
            !workload.used.generated.is_empty() || !wanted_logins(view, &workload.used).is_empty();
        let secrets_again = has_secrets.then(|| self.resync());
        let claim_again = unclaimed.as_ref().map(|_refusal| WAITING);
        let again = [health.again, turn, secrets_again, claim_again];
        let again = again.into_iter().flatten().min();
        let mut section = self.describe(view, &plan, workload, health).await;
        section::retry_pull(view, &mut section, secrets, self.waits());
        if let Some(refusal) = unclaimed {
            section::blame(view, &mut section, &refusal, self.waits());
        }
        Ok((section, again))
    }

    /// Nothing is started. What siblings wait for is there all the same; what serves keeps what it
    /// has besides, until it is rolled out anew.
    async fn hold(
        &self,
        view: &View,
        apply: &Apply,
        plan: &Plan,
        waiting: Vec<WaitingFor>,
    ) -> Result<Reached, Error> {
        if view.component.spec.paused {
            return Ok((section::waiting(view, Vec::new()), None));
        }

        // Those who reach what serves are told of new ports already.
        let serves = section::before(view).kind.is_some();
        let serving = if serves {
            self.serving(view, plan).await?
        } else {
            Serving::default()
        };
        self.surround(view, apply, plan, &serving).await?;
        if serves {
            return Ok((section::waiting(view, waiting), Some(WAITING)));
        }

        let section = DeploySection {
            services: plan.deployed.clone(),
            ..section::waiting(view, waiting)
        };

        Ok((section, Some(WAITING)))
    }

    /// The Secrets that have to be there before the pods start.
    async fn provide(
        &self,
        view: &View,
        workload: &Workload,
        secrets: &SecretReader,
    ) -> Result<(), Error> {
        self.provide_variables(view, &workload.used).await?;
        self.provide_pull(view, &workload.used, secrets).await
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
        let judge = |pods: &[Pod]| -> Result<Health, Error> {
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

        let health = judge(&[])?;
        if health.state == State::Healthy {
            self.throttle().end(view.uid());
        }

        let well = matches!(health.state, State::Healthy | State::Completed);
        if well && was_well {
            return Ok(health);
        }

        let pods = read::pods(self.client(), view).await?;
        let revision = &workload.revision;
        let health = probes::again(judge(&pods)?, &pods, revision);
        if was_well && health.goes_on() {
            return Ok(Health {
                state: State::Healthy,
                ..health
            });
        }

        match probes::doubtful(&pods, revision, now) {
            Some(pod) => {
                let events = read::events(self.client(), view, pod, probes::UNHEALTHY).await?;
                Ok(probes::told(health, &events))
            }
            None => Ok(health),
        }
    }

    /// The section of something that was made, with the log of what is wrong.
    async fn describe(
        &self,
        view: &View,
        plan: &Plan,
        workload: &Workload,
        health: Health,
    ) -> DeploySection {
        let known = section::same_failure(view, workload, health.trouble.as_ref());
        let log = health.trouble.as_ref().and_then(|found| found.log.as_ref());
        let lines = match log.filter(|_log| known.is_none()) {
            Some(log) => self.log_tail(view, workload, log).await,
            None => Vec::new(),
        };

        section::running(view, plan, workload, &health, known, lines)
    }

    /// The last lines of a log. None, as long as it is not known what they may not show.
    async fn log_tail(&self, view: &View, workload: &Workload, log: &LogOf) -> Vec<String> {
        let Some(template) = workload.object.body.pointer("/spec/template") else {
            return Vec::new();
        };

        match self.secret_values(view, template).await {
            Ok(secrets) => logs::tail(self.client(), view.namespace(), log, &secrets).await,
            Err(error) => {
                warn!(
                    error = chain(&error),
                    "Failed to read what a log may not show"
                );
                Vec::new()
            }
        }
    }

    async fn record_deploy(
        &self,
        api: &Api<Component>,
        view: &View,
        after: &DeploySection,
    ) -> Result<Option<Duration>, Error> {
        let before = section::before(view);
        let derived = Derived {
            object: &view.component,
            section: after,
            difference: section::difference(&before, after, view.is_depended_on_early()),
        };

        self.record(api, derived).await
    }
}

/// Whether the newest revision was started already. One that differs in what is added to it alone is
/// no other.
fn is_started(
    view: &View,
    workload: &Workload,
    found: Option<&DynamicObject>,
) -> Result<bool, Error> {
    let newest = Some(workload.revision.as_str());
    let runs = found.map(serde_json::to_value).transpose()?;
    Ok(runs.as_ref().and_then(revision) == newest
        || section::before(view).revision.as_deref() == newest)
}

/// Makes claims, and returns what is wrong with one that is there. All else goes on: `runs` is
/// whether there are pods that may still have one that somebody deletes.
async fn claim(apply: &Apply, workload: &Workload, runs: bool) -> Result<Option<Refusal>, Error> {
    let mut wrong = None;
    for claim in &workload.claims {
        let name = claim.name();
        let found = match apply.get(claim).await {
            Err(Error::Deleting { .. }) if runs => {
                wrong = Some(format!(
                    "PersistentVolumeClaim {name} is being deleted: it goes once no pod has it, and an empty one is made then"
                ));
                continue;
            }
            found => found?,
        };

        let is_there = found.is_some();
        match apply.write(claim, found).await {
            Err(Error::Object(ObjectError::Denied(denial))) if is_there => {
                wrong = Some(denial.to_string());
            }
            written => drop(written?),
        }
    }
    Ok(wrong.map(|message| Refusal::new(Code::ClaimDiffers, message)))
}

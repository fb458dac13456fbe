//! What is to be done for a Component.

mod builds;

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use sequencer_api::Component;
use sequencer_api::status::State;
use sequencer_proto::topics::Verb;

use super::builds::resolved;
use super::view::ComponentView;
use crate::notifier::{due_of, notification, notify, policy};
use crate::plan::{Cause, Inputs, Notification, Plan, Policy};

/// A poll interval that cannot be read, which the schema does not let in.
const INTERVAL: Duration = Duration::from_secs(60);

/// What is to be done.
pub(super) fn plan(view: &ComponentView) -> Plan {
    let mut plan = Plan::default();

    if view.component.metadata.deletion_timestamp.is_some() {
        return plan;
    }

    let paused = view.component.spec.paused;
    if !paused {
        resolve(&mut plan, view);
        builds::follow(&mut plan, view);
    }

    builds::prune(&mut plan, view);
    if !paused {
        deploy(&mut plan, view);
    }

    plan
}

/// Looks at the branches, once in each interval.
fn resolve(plan: &mut Plan, view: &ComponentView) {
    let Some((build, Some(Ok(pool)))) = view
        .component
        .spec
        .template
        .build
        .as_ref()
        .map(|build| (build, view.pool.as_ref()))
    else {
        return;
    };

    let (source, subject) = (&view.before.source, &view.subject);
    let fixed = build.import_content.iter().all(|import| {
        let git = import.content_from.git.as_ref();
        git.is_some_and(|git| git.commit.is_some())
    });
    let finished = fixed && resolved(build, source);
    let due = due_of(&source.section, finished, subject);
    let poll = Policy::Poll(interval(&view.component.spec.update_policy.interval));
    let Some(policy) = policy(plan, due, poll) else {
        return;
    };

    let inputs = Inputs::of(subject, None, Cause::Spec);
    plan.notifications.push(Notification {
        asked: subject.retry.is_new_to(&source.section),
        ..notification(subject, Verb::Resolve, Some(pool.clone()), inputs, policy)
    });
}

fn interval(text: &str) -> Duration {
    let parsed = text.parse::<SignedDuration>().ok();
    let positive = parsed.and_then(|interval| Duration::try_from(interval).ok());
    positive.unwrap_or(INTERVAL)
}

/// Rolls out what may start, and has not all that it takes now.
fn deploy(plan: &mut Plan, view: &ComponentView) {
    if !view.started && !view.may_start() {
        return;
    }

    let (subject, section) = (&view.subject, &view.before.deploy.section);
    let is_asked = subject.retry.is_new_to(section);
    if is_rolled_out(view) && !is_asked {
        return;
    }

    let cause = Cause::Surroundings(surroundings(view));
    notify(plan, subject, Verb::Deploy, None, section, false, cause);
}

/// Whether the newest version that can run is rolled out.
fn is_rolled_out(view: &ComponentView) -> bool {
    let (deploy, generation) = (&view.before.deploy, view.subject.generation);
    let runs = deploy.section.is(State::Healthy, generation)
        || deploy.section.is(State::Completed, generation);
    runs && view.to_roll_out().is_none() && view.is_up_to_date()
}

/// Everything of the Workspace that a component may take or wait for, as a hash.
fn surroundings(view: &ComponentView) -> String {
    let owned = &view.owned;
    let images = owned
        .builds
        .iter()
        .filter_map(|build| build.status.as_ref()?.publish.image.as_deref());
    let workspace = owned.workspace.as_deref();
    let host = workspace.and_then(|workspace| workspace.status.as_ref()?.host.as_deref());
    let generation = workspace
        .and_then(|workspace| workspace.metadata.generation)
        .unwrap_or_default()
        .to_string();
    // What a dependency has to reach before others may follow.
    let template = &view.component.spec.template;
    let depends_on = |component: &&Arc<Component>| {
        let mut on = template.depends_on.iter();
        on.any(|dependency| dependency.component_name == component.spec.template.name)
    };
    let followed = owned.components.iter().filter(depends_on);
    let reached = followed.filter_map(|component| {
        let deploy = &component.status.as_ref()?.deploy;
        Some(format!("{:?} {:?}", deploy.revision, deploy.section.state))
    });
    let reached = reached.collect::<String>();
    let parts = images
        .chain(host)
        .chain([generation.as_str(), reached.as_str()]);
    sequencer_api::names::h10(&parts.collect::<Vec<_>>())
}

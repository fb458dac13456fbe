//! A Component: its branches resolved, its image built, its pods rolled out.

mod builds;
mod status;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;
use sequencer_api::Component;
use sequencer_api::dependencies::{Sibling, name, waiting_for};
use sequencer_api::status::State;
use sequencer_api::status::component::{ComponentStatus, DeploySection, WaitingFor};
use sequencer_proto::topics::{Kind, Pool, Verb};

use crate::family::{Family, retry_word, root};
use crate::plan::{Action, Plan, Rhythm, Target, Told};
use crate::section::{Due, due, is};
use crate::tell::transitions;
use crate::wakes::{Work, call, wake};
use crate::workspace::with_name;

pub use builds::desired;
pub(crate) use builds::resolved;
pub use status::status;

/// A poll interval that cannot be read, which the schema does not let in.
const INTERVAL: Duration = Duration::from_secs(60);

/// What is left to do for a Component.
#[must_use]
pub fn plan(component: &Component, family: &Family, pools: &[Pool], now: Timestamp) -> Plan {
    let mut plan = Plan::default();
    if component.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let target = Target::of(Kind::Component, component);
    // Whoever annotates the Workspace means all of it.
    let above = family.workspace.as_deref().map_or("", retry_word);
    let retry = format!("{}{above}", retry_word(component));
    let generation = component.metadata.generation.unwrap_or_default();
    let work = Work { target: &target, workspace: root(component), generation, retry: &retry, now };
    if component.spec.template.build.is_some() && !component.spec.paused {
        resolve(&mut plan, component, &work, pools);
        builds::follow(&mut plan, component, family, &work);
    }
    builds::forget(&mut plan, component, family);
    if !component.spec.paused {
        deploy(&mut plan, component, family, &work);
    }
    plan
}

/// Looks at the branches, once in each interval.
fn resolve(plan: &mut Plan, component: &Component, work: &Work<'_>, pools: &[Pool]) {
    let Some(build) = &component.spec.template.build else { return };
    let Some(pool) = pools.iter().find(|pool| pool.as_str() == build.runtime.pool) else { return };
    let source = component.status.clone().unwrap_or_default().source;
    let resolved = builds::resolved(build, &source);
    let fixed = build
        .import_content
        .iter()
        .all(|import| import.content_from.git.as_ref().is_some_and(|git| git.commit.is_some()));
    let poll = Rhythm::Poll(interval(&component.spec.update_policy.interval));
    let rhythm = match due(&source.section, resolved && fixed, work.generation, work.now) {
        Due::Never => return,
        Due::Now => poll,
        Due::At(at) => {
            plan.again_at(at);
            Rhythm::Held
        }
        Due::Secret(at) => {
            plan.again_at(at);
            Rhythm::Secret
        }
    };
    let key = format!("{}/{rhythm:?}", work.generation);
    plan.wakes.push(wake(work, Verb::Resolve, Some(pool.clone()), key, rhythm));
}

fn interval(text: &str) -> Duration {
    let parsed = text.parse::<SignedDuration>().ok().and_then(|interval| Duration::try_from(interval).ok());
    parsed.unwrap_or(INTERVAL)
}

/// Rolls out what may start. What is settled is looked at once for each state of what it may use: another component's
/// image may be part of it.
fn deploy(plan: &mut Plan, component: &Component, family: &Family, work: &Work<'_>) {
    let section = component.status.clone().unwrap_or_default().deploy;
    let started = started(&section, work.generation);
    let may_start = || waits(component, family).is_empty() && builds::any_published(component, family);
    if !(started || may_start()) {
        return;
    }
    let more = surroundings(family);
    if rolled_out(component, family, &section, work.generation) {
        let key = format!("{}/{more}", work.generation);
        plan.wakes.push(wake(work, Verb::Deploy, None, key, Rhythm::Once));
    } else {
        call(plan, work, Verb::Deploy, None, &section.section, false, &more);
    }
}

/// Whether the deployer began with this generation: from then on a dependency that falters holds nothing back.
fn started(deploy: &DeploySection, generation: i64) -> bool {
    deploy.section.observed_generation == Some(generation)
        && deploy.section.state != Some(State::Waiting)
        && deploy.revision.is_some()
}

/// Whether more can be told of a young component than that it starts, what it waits for or what the deployer found, or nobody
/// else tells of it.
#[must_use]
pub fn has_news(component: &Component) -> bool {
    let template = &component.spec.template;
    let alone = component.owner_references().is_empty();
    let found = component.status.as_ref().is_some_and(|status| status.deploy.section.state.is_some());
    alone || found || template.build.is_some() || !template.depends_on.is_empty()
}

/// The conditions of a component that its siblings wait for.
#[must_use]
pub fn watched(component: &Component, family: &Family) -> Vec<&'static str> {
    let on = family.components.iter().flat_map(|sibling| &sibling.spec.template.depends_on);
    let on = on.filter(|dependency| dependency.component_name == component.spec.template.name);
    on.map(|dependency| name(dependency.condition_type)).collect()
}

/// What a component still waits for.
pub(crate) fn waits(component: &Component, family: &Family) -> Vec<WaitingFor> {
    let siblings: BTreeMap<_, _> = family
        .components
        .iter()
        .map(|sibling| {
            let conditions = sibling.status.as_ref().map_or(&[][..], |status| &status.conditions);
            let generation = sibling.metadata.generation.unwrap_or_default();
            (sibling.spec.template.name.as_str(), Sibling { generation, conditions })
        })
        .collect();
    waiting_for(&component.spec.template.depends_on, &siblings)
}

/// Whether the newest that can run does.
fn rolled_out(component: &Component, family: &Family, section: &DeploySection, generation: i64) -> bool {
    let runs = is(&section.section, State::Healthy, generation) || is(&section.section, State::Completed, generation);
    let newest = builds::newest_published(component, family).map(|build| build.name_any());
    runs && (newest.is_none() || newest == section.build)
}

/// Everything of the Workspace that a rendered template may hold.
fn surroundings(family: &Family) -> String {
    let images = family.builds.iter().filter_map(|build| build.status.as_ref()?.publish.image.as_deref());
    let host = family.workspace.as_deref().and_then(|workspace| workspace.status.as_ref()?.host.as_deref());
    let generation =
        family.workspace.as_deref().and_then(|workspace| workspace.metadata.generation).unwrap_or_default();
    sequencer_api::names::h10(&images.chain(host).chain([generation.to_string().as_str()]).collect::<Vec<_>>())
}

/// What a change of its conditions tells; what went wrong its Workspace tells as well.
#[must_use]
pub fn news(component: &Component, family: &Family, before: &ComponentStatus, after: &ComponentStatus) -> Vec<Told> {
    let target = Target::of(Kind::Component, component);
    let mut news = transitions(&target, &before.conditions, &after.conditions, family.workspace.is_none());
    let above = family.workspace.as_deref().zip(news.first().filter(|told| told.warning));
    // One that waits for a failed one has nothing to add.
    if let Some((workspace, told)) = above.filter(|(_, told)| told.message.starts_with("E#")) {
        let message = with_name(&component.spec.template.name, &told.message);
        news.push(Told { target: Target::of(Kind::Workspace, workspace), message, ..told.clone() });
    }
    news
}

/// An Event about a Component, on its Workspace if it has one.
fn tell(family: &Family, target: &Target, reason: &'static str, message: String) -> Told {
    let above = family.workspace.as_deref().map(|workspace| Target::of(Kind::Workspace, workspace));
    Told::new(above.as_ref().unwrap_or(target), reason, message)
}

/// Deletes an object.
fn delete(kind: Kind, object: &impl kube::Resource) -> Action {
    Action::Delete(Target::of(kind, object))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_only_starts_is_told_of_by_its_workspace() {
        let news = |owner: &Value, deploy: Value, field: &str, value: Value| {
            let mut spec = json!({"name": "app", "template": {"containers": []}});
            spec[field] = value;
            let component = json!({
                "metadata": {"name": "app", "ownerReferences": owner}, "spec": spec, "status": {"deploy": deploy},
            });
            has_news(&serde_json::from_value(component).unwrap())
        };
        let owner = json!([{"apiVersion": "se.quencer.io/v1alpha1", "kind": "Workspace", "name": "w", "uid": "u"}]);
        let on = json!([{"componentName": "db"}]);
        let build = json!({"name": "app", "containerRegistries": [], "importContent": []});
        assert!(!news(&owner, json!({}), "dependsOn", json!([])));
        assert!(news(&json!([]), json!({}), "dependsOn", json!([])));
        assert!(news(&owner, json!({"state": "InProgress"}), "dependsOn", json!([])));
        assert!(news(&owner, json!({}), "dependsOn", on));
        assert!(news(&owner, json!({}), "build", build));
    }
}

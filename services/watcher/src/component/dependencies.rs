//! What holds a Component back until others have come so far, as people read it.

use std::collections::{BTreeMap, BTreeSet};

use sequencer_api::Component;
use sequencer_api::code::Code;
use sequencer_api::component::{ComponentTemplate, DependsOn};
use sequencer_api::condition::{ConditionType, Reason, Summary, code, find};
use sequencer_api::dependencies::cycle;
use sequencer_api::status::State;
use sequencer_api::status::component::WaitingFor;

use super::status::trouble;
use super::view::ComponentView;

pub(super) fn summary(view: &ComponentView) -> Summary {
    if view.started {
        return Summary::yes(Reason::Completed, "");
    }

    if let Some(never) = circle(view).or_else(|| impossible(view)) {
        return never;
    }

    let unmet = match view.unmet.as_slice() {
        [] => held(view),
        unmet => unmet,
    };

    let failed = unmet.iter().find_map(|wait| {
        let name = &wait.component_name;
        let sibling = view.sibling(name)?;
        let code = stalled(&sibling.component)?;
        let message =
            trouble(&sibling).map_or_else(|| code.meaning().into(), |trouble| trouble.message);
        Some(Summary::failed(code, format!("{name}: {message}")))
    });

    failed
        .or_else(|| awaited(view, unmet))
        .unwrap_or_else(|| Summary::yes(Reason::Completed, ""))
}

/// What is waited for; None if nothing is.
pub(super) fn awaited(view: &ComponentView, waiting: &[WaitingFor]) -> Option<Summary> {
    let shown: Vec<_> = waiting.iter().map(|wait| waits(view, wait)).collect();
    (!shown.is_empty())
        .then(|| Summary::no(Reason::Waiting, format!("waiting for {}", shown.join(", "))))
}

fn waits(view: &ComponentView, wait: &WaitingFor) -> String {
    let WaitingFor {
        component_name: name,
        condition_type,
        condition_status,
        now,
    } = wait;

    match now {
        Some(now) => format!("{name} {condition_type} {condition_status} (now {now})"),
        None if template(view, name).is_none() => format!("{name}: no component of this name"),
        None => format!("{name} {condition_type} {condition_status} (not reported yet)"),
    }
}

/// What the deployer waits for although every condition holds.
pub(super) fn held(view: &ComponentView) -> &[WaitingFor] {
    let deploy = &view.before.deploy;
    if deploy.section.is(State::Waiting, view.subject.generation) {
        &deploy.waiting_for
    } else {
        &[]
    }
}

/// The code of a component that says of itself that a person is needed.
fn stalled(component: &Component) -> Option<Code> {
    let conditions = &component.status.as_ref()?.conditions;
    find(conditions, ConditionType::Stalled).and_then(code)
}

/// Components on their own that wait for each other. Of a Workspace the Workspace says it.
fn circle(view: &ComponentView) -> Option<Summary> {
    if view.owned.workspace.is_some() {
        return None;
    }

    let templates = view.owned.components.iter().map(|each| &each.spec.template);
    let names = templates.map(|template| {
        let on = template.depends_on.iter();
        let on = on.map(|dependency| dependency.component_name.as_str());
        (template.name.as_str(), on.collect())
    });
    let mut names: BTreeMap<_, Vec<_>> = names.collect();
    let own = view.component.spec.template.name.as_str();
    let all = names.clone();
    // Of the circles that there are only its own.
    names.retain(|name, _| reached(&all, own).contains(name) && reached(&all, name).contains(own));
    let circle = cycle(&names)?;

    let message = format!(
        "components wait for each other: {}; remove one of these dependsOn",
        circle.join(" -> ")
    );
    Some(Summary::failed(Code::DependencyCycle, message))
}

/// Whom a component waits for, and those in turn.
fn reached<'a>(depends_on: &BTreeMap<&'a str, Vec<&'a str>>, from: &str) -> BTreeSet<&'a str> {
    let on = |name: &str| depends_on.get(name).into_iter().flatten().copied();
    let mut found: BTreeSet<_> = BTreeSet::new();
    let mut next: Vec<_> = on(from).collect();
    while let Some(name) = next.pop() {
        if found.insert(name) {
            next.extend(on(name));
        }
    }
    found
}

/// A condition that the other component never has.
fn impossible(view: &ComponentView) -> Option<Summary> {
    let mut dependencies = view.component.spec.template.depends_on.iter();

    dependencies.find_map(|dependency| {
        let DependsOn {
            component_name: name,
            condition_type,
            ..
        } = dependency;
        let lacks = lacks(template(view, name)?, *condition_type)?;
        let message = format!("{name} never has the condition {condition_type}: it has no {lacks}");
        Some(Summary::failed(Code::ConditionUnknown, message))
    })
}

/// What a component would have to have for a condition, and has not.
fn lacks(template: &ComponentTemplate, condition: ConditionType) -> Option<&'static str> {
    match condition {
        ConditionType::Source | ConditionType::Build if template.build.is_none() => Some("build"),
        ConditionType::Network if template.networks.is_empty() => Some("networks"),
        ConditionType::Dependencies if template.depends_on.is_empty() => Some("dependsOn"),
        _ => None,
    }
}

/// The template of another component as its Workspace has it now.
fn template<'a>(view: &'a ComponentView, name: &str) -> Option<&'a ComponentTemplate> {
    let workspace = view.owned.workspace.iter();
    let listed = workspace.flat_map(|workspace| &workspace.spec.components);
    let alone = view.owned.components.iter();
    let alone = alone.map(|each| &each.spec.template);
    let mut templates = listed.chain(alone);
    templates.find(|template| template.name == name)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::Timestamp;
    use serde_json::{Value, json};

    use super::*;
    use crate::chart::Chart;
    use crate::owned::Owned;

    fn component(name: &str, on: &Value) -> Component {
        serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "n", "uid": name, "generation": 1},
            "spec": {"name": name, "dependsOn": on, "template": {"containers": []}},
        }))
        .unwrap()
    }

    /// What the first of these Components on their own says.
    fn says(components: &[Component]) -> Summary {
        let owned = Owned {
            components: components.iter().cloned().map(Arc::new).collect(),
            ..Owned::default()
        };
        let first = components.first().unwrap().clone();
        let (chart, now) = (Arc::new(Chart::default()), Timestamp::UNIX_EPOCH);
        summary(&ComponentView::new(first.into(), owned.into(), &chart, now))
    }

    #[test]
    fn who_is_waited_for_and_is_not_there_is_named() {
        let told = says(&[component("app", &json!([{"componentName": "db"}]))]);
        assert_eq!(told.reason, Reason::Waiting);
        assert_eq!(told.message, "waiting for db: no component of this name");
    }

    #[test]
    fn components_on_their_own_that_wait_for_each_other_say_so_and_those_behind_them_wait() {
        let on = |name: &str| json!([{"componentName": name}]);
        let (one, two) = (component("one", &on("two")), component("two", &on("one")));
        let behind = component("behind", &on("one"));

        let told = says(&[one.clone(), two.clone(), behind.clone()]);
        assert_eq!(told.reason.code(), Some(Code::DependencyCycle));
        assert!(
            told.message.contains("one -> two -> one"),
            "{}",
            told.message
        );
        assert_eq!(
            says(&[behind, one.clone(), two.clone()]).reason,
            Reason::Waiting
        );

        // However many circles there are.
        let (three, four) = (
            component("three", &on("four")),
            component("four", &on("three")),
        );
        let told = says(&[three, four, one, two]);
        assert!(
            told.message.contains("three -> four") || told.message.contains("four -> three"),
            "{}",
            told.message
        );
    }

    #[test]
    fn a_condition_that_the_other_can_never_have_is_told() {
        let db = component("db", &json!([]));

        for (kind, never) in [
            ("Build", true),
            ("Source", true),
            ("Network", true),
            ("Dependencies", true),
            ("Pod", false),
            ("Variables", false),
        ] {
            let on = json!([{"componentName": "db", "conditionType": kind}]);
            let told = says(&[component("app", &on), db.clone()]);
            let code = told.reason.code();
            assert_eq!(
                code == Some(Code::ConditionUnknown),
                never,
                "{kind}: {told:?}"
            );
        }
    }
}

//! Who may start: one pure function, by which the watcher wakes a component and the deployer, on
//! fresh reads, acts.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::component::DependsOn;
use crate::condition::find;
use crate::status::component::WaitingFor;
use crate::stored::Stored as _;
use crate::{Component, Workspace};

/// Another component of the same Workspace, as it was read.
#[derive(Clone, Copy, Debug)]
pub struct Sibling<'a> {
    /// Its `metadata.generation`.
    pub generation: i64,
    /// Its conditions.
    pub conditions: &'a [Condition],
}

impl<'a> From<&'a Component> for Sibling<'a> {
    fn from(component: &'a Component) -> Self {
        let status = component.status.as_ref();
        Self {
            generation: component.generation(),
            conditions: status.map_or(&[][..], |status| &status.conditions),
        }
    }
}

/// The Components of one Workspace, by their names in its spec.
pub fn siblings<'a>(
    components: impl IntoIterator<Item = &'a Component>,
) -> BTreeMap<&'a str, Sibling<'a>> {
    let named = |component: &'a Component| {
        let name = component.spec.template.name.as_str();
        (name, Sibling::from(component))
    };
    components.into_iter().map(named).collect()
}

/// Tells whether the watcher has still to change a Component as its Workspace says now: what it was
/// says nothing of what it will be.
#[must_use]
pub fn is_outdated(component: &Component, workspace: &Workspace) -> bool {
    let template = &component.spec.template;
    let mut wanted = workspace.spec.components.iter();
    wanted.any(|wanted| wanted.name == template.name && wanted != template)
}

/// Returns what still has to come true before a component's new revision may start; nothing means
/// now. `siblings` are the others by their names.
#[must_use]
pub fn unmet(depends_on: &[DependsOn], siblings: &BTreeMap<&str, Sibling<'_>>) -> Vec<WaitingFor> {
    depends_on
        .iter()
        .filter_map(|dependency| not_yet(dependency, siblings))
        .collect()
}

/// Returns the dependency as status shows it, or None if it holds. A condition that speaks of an
/// older generation does not count: the sibling has been changed since.
fn not_yet(dependency: &DependsOn, siblings: &BTreeMap<&str, Sibling<'_>>) -> Option<WaitingFor> {
    let sibling = siblings.get(dependency.component_name.as_str());
    let condition = sibling.and_then(|sibling| {
        find(sibling.conditions, dependency.condition_type).filter(|condition| {
            condition
                .observed_generation
                .is_none_or(|seen| seen >= sibling.generation)
        })
    });
    if condition.is_some_and(|condition| dependency.condition_status.is_met_by(condition)) {
        return None;
    }

    Some(WaitingFor {
        component_name: dependency.component_name.clone(),
        condition_type: dependency.condition_type,
        condition_status: dependency.condition_status,
        now: condition.map(|condition| format!("{} {}", condition.status, condition.reason)),
    })
}

/// Components that wait for each other in a circle, the first one again at the end; none if all can
/// start some day. `depends_on` has the names that each component waits for.
#[must_use]
pub fn cycle<'a>(depends_on: &BTreeMap<&'a str, Vec<&'a str>>) -> Option<Vec<&'a str>> {
    let mut done = BTreeSet::new();
    depends_on
        .keys()
        .find_map(|start| follow(start, depends_on, &mut Vec::new(), &mut done))
}

/// Follows dependencies depth first. `path` leads here, `done` holds what was followed to its end
/// without a circle.
fn follow<'a>(
    here: &'a str,
    depends_on: &BTreeMap<&'a str, Vec<&'a str>>,
    path: &mut Vec<&'a str>,
    done: &mut BTreeSet<&'a str>,
) -> Option<Vec<&'a str>> {
    if done.contains(here) {
        return None;
    }

    if let Some(first) = path.iter().position(|passed| *passed == here) {
        return Some(path.iter().skip(first).copied().chain([here]).collect());
    }

    path.push(here);

    let found = depends_on
        .get(here)
        .into_iter()
        .flatten()
        .find_map(|next| follow(next, depends_on, path, done));

    path.pop();
    done.insert(here);
    found
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use proptest::prelude::*;

    use super::*;
    use crate::condition::ConditionType;

    fn condition(kind: &str, status: &str, reason: &str, generation: i64) -> Condition {
        Condition {
            type_: kind.into(),
            status: status.into(),
            reason: reason.into(),
            observed_generation: Some(generation),
            message: String::new(),
            last_transition_time: serde_json::from_str::<Time>(r#""2026-01-01T00:00:00Z""#)
                .unwrap(),
        }
    }

    fn on(component: &str, kind: ConditionType, status: &str) -> DependsOn {
        DependsOn {
            component_name: component.into(),
            condition_type: kind,
            condition_status: status.parse().unwrap(),
        }
    }

    fn holds(dependency: &DependsOn, conditions: &[Condition]) -> bool {
        let siblings = BTreeMap::from([(
            "mysql",
            Sibling {
                generation: 2,
                conditions,
            },
        )]);
        unmet(std::slice::from_ref(dependency), &siblings).is_empty()
    }

    #[test]
    fn a_dependency_holds_by_the_conditions_reason_or_its_status() {
        let ready = [condition("Pod", "True", "Healthy", 2)];
        assert!(holds(&on("mysql", ConditionType::Pod, "Healthy"), &ready));
        assert!(holds(&on("mysql", ConditionType::Pod, "True"), &ready));
        assert!(!holds(
            &on("mysql", ConditionType::Pod, "Completed"),
            &ready
        ));
        assert!(!holds(&on("mysql", ConditionType::Ready, "True"), &ready));
        assert!(!holds(
            &on("mysql", ConditionType::Pod, "Healthy"),
            &[condition("Pod", "False", "InProgress", 2)]
        ));
    }

    #[test]
    fn what_was_true_of_an_older_generation_does_not_count() {
        assert!(!holds(
            &on("mysql", ConditionType::Pod, "Healthy"),
            &[condition("Pod", "True", "Healthy", 1)]
        ));
        assert!(holds(
            &on("mysql", ConditionType::Pod, "Healthy"),
            &[condition("Pod", "True", "Healthy", 3)]
        ));
    }

    #[test]
    fn what_is_waited_for_is_told_with_what_it_is_now() {
        let conditions = [condition("Pod", "False", "InProgress", 2)];
        let siblings = BTreeMap::from([(
            "mysql",
            Sibling {
                generation: 2,
                conditions: &conditions,
            },
        )]);
        let depends_on = [
            on("mysql", ConditionType::Pod, "Healthy"),
            on("gone", ConditionType::Ready, "True"),
        ];
        let waiting = unmet(&depends_on, &siblings);
        let shown: Vec<_> = waiting
            .iter()
            .map(|each| (each.component_name.as_str(), each.now.as_deref()))
            .collect();
        assert_eq!(shown, [("mysql", Some("False InProgress")), ("gone", None)]);
        assert!(unmet(&[], &siblings).is_empty());
    }

    #[test]
    fn a_circle_is_told_in_its_order() {
        let circle = BTreeMap::from([
            ("a", vec!["b"]),
            ("b", vec!["c"]),
            ("c", vec!["a"]),
            ("d", vec!["a"]),
        ]);
        assert_eq!(cycle(&circle), Some(vec!["a", "b", "c", "a"]));
        let tail = BTreeMap::from([("a", vec!["b"]), ("b", vec!["c"]), ("c", vec!["b"])]);
        assert_eq!(cycle(&tail), Some(vec!["b", "c", "b"]));

        let diamond = BTreeMap::from([
            ("a", vec!["b", "c"]),
            ("b", vec!["d"]),
            ("c", vec!["d"]),
            ("d", vec![]),
        ]);
        assert_eq!(cycle(&diamond), None);
        let unknown = BTreeMap::from([("a", vec!["unknown", "b"]), ("b", vec!["unknown"])]);
        assert_eq!(cycle(&unknown), None);
    }

    proptest! {
        #[test]
        fn a_circle_is_found_exactly_where_no_order_of_starting_exists(edges in prop::collection::vec((0usize..6, 0usize..6), 0..12)) {
            const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
            let mut graph: BTreeMap<&str, Vec<&str>> = NAMES.iter().map(|name| (*name, vec![])).collect();

            for (from, to) in edges {
                graph.get_mut(NAMES[from]).unwrap().push(NAMES[to]);
            }

            // Start whatever has nothing left to wait for, until nothing moves.
            let mut started = BTreeSet::new();
            while let Some(next) = graph.iter().find(|(name, on)| !started.contains(*name) && on.iter().all(|on| started.contains(on))) {
                started.insert(*next.0);
            }

            prop_assert_eq!(cycle(&graph).is_some(), started.len() < NAMES.len());
        }
    }
}

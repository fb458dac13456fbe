//! What holds the start of a revision back. What runs is never stopped by it.

use sequencer_api::component::DependsOn;
use sequencer_api::condition::{ConditionType, Expected, Reason};
use sequencer_api::dependencies::{siblings, unmet};
use sequencer_api::owner::is_controlled_by;
use sequencer_api::status::component::WaitingFor;

use crate::plan::{Used, View};

/// The dependencies that do not hold yet, or hold only for an older Build where a newer one is on
/// its way: a migration that is done for the last commit is not done for this one.
pub(super) fn by_dependencies(view: &View) -> Vec<WaitingFor> {
    use ConditionType::{Available, Pod, Ready};

    let dependencies = view.template().depends_on.iter();
    let of_what_runs = dependencies
        .filter(|dependency| matches!(dependency.condition_type, Available | Pod | Ready));
    let older = of_what_runs.filter(|dependency| runs_an_older_build(view, dependency));
    let older = older.map(|dependency| WaitingFor {
        component_name: dependency.component_name.clone(),
        condition_type: dependency.condition_type,
        condition_status: dependency.condition_status,
        now: Some("an older version".into()),
    });

    let mut waiting = unmet(&view.template().depends_on, &siblings(&view.siblings));
    waiting.extend(older);
    waiting
}

fn runs_an_older_build(view: &View, dependency: &DependsOn) -> bool {
    let sibling = view.find(&dependency.component_name);
    let status = sibling.and_then(|sibling| sibling.status.as_ref());
    let runs = status.and_then(|status| status.deploy.build.as_deref());

    let Some((runs, build)) = runs.and_then(|runs| Some((runs, view.build(runs)?))) else {
        return false;
    };

    let mut makers = view.siblings.iter().chain([&view.component]);
    let maker = makers.find(|maker| is_controlled_by(build, *maker));
    let status = maker.and_then(|maker| maker.status.as_ref());
    let latest = status.and_then(|status| status.latest_build.as_deref());
    latest.is_some_and(|latest| latest != runs)
}

/// The makers of Builds that a template takes something from, where their specs ask for another one
/// since: a new template never runs an image that it was not written for.
pub(super) fn by_builds(view: &View, used: &Used) -> Vec<WaitingFor> {
    let templates = view.templates();
    let older = used.builds.iter().filter_map(|used| {
        let built = view.build(&used.object)?;
        let makers = templates.iter();
        let mut wanted = makers.filter_map(|maker| Some((maker, maker.build.as_ref()?)));
        let (maker, wanted) = wanted.find(|(_, wanted)| wanted.name == used.name)?;

        (!built.is_of(wanted)).then(|| WaitingFor {
            component_name: maker.name.clone(),
            condition_type: ConditionType::Build,
            condition_status: Expected::Reason(Reason::Completed),
            now: Some("of an older spec".into()),
        })
    });
    older.collect()
}

#[cfg(test)]
mod tests;

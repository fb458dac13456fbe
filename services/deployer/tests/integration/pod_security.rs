//! The levels of `--pod-security` beside Kubernetes' own cases of them. Go brings these.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use clap::Parser as _;
use lab::testing::layout;
use sequencer_api::Component;
use sequencer_deployer::args::{Args, Settings};
use sequencer_deployer::plan::{View, plan};
use serde_json::json;
use test_support::pod_security::{Case, cases};

/// What is decided otherwise here, and why.
const OTHERWISE: [(&str, &str); 6] = [
    ("baseline procmount1", "no pod sees all of /proc"),
    ("restricted base_windows", "pods run on Linux"),
    (
        "restricted restrictedvolumes0",
        "the chart has to share a claim",
    ),
    ("restricted seccompprofile_restricted0", RUNTIME_DEFAULT),
    ("restricted seccompprofile_restricted2", RUNTIME_DEFAULT),
    ("restricted seccompprofile_restricted3", RUNTIME_DEFAULT),
];

const RUNTIME_DEFAULT: &str = "it is set where nothing is said";

#[test]
fn every_level_refuses_what_kubernetes_does_and_nothing_else() -> Result<()> {
    let cases = cases(&layout()?.repository)?;
    let otherwise: BTreeMap<_, _> = cases.iter().filter_map(otherwise).collect();
    let known: BTreeSet<_> = OTHERWISE.iter().map(|(case, _why)| *case).collect();
    let found: BTreeSet<_> = otherwise.keys().map(String::as_str).collect();
    ensure!(found == known, "{otherwise:#?}");
    Ok(())
}

/// A case that Kubernetes decides otherwise, and what is decided here.
fn otherwise(case: &Case) -> Option<(String, String)> {
    let planned = plan(&view(case), &settings(case.level));
    let name = format!("{} {}", case.level, case.name);
    match planned {
        Ok(_) => (!case.passes).then(|| (name, "it is planned".to_owned())),
        Err(error) => case.passes.then(|| (name, error.to_string())),
    }
}

fn settings(level: &str) -> Settings {
    let level = format!("--pod-security={level}");
    let needed = ["deployer", "--pod=a", "--namespace=r", "--cluster-id=c1"];
    Args::parse_from(needed.into_iter().chain([level.as_str()])).settings
}

/// The pod as a Component's template.
fn view(case: &Case) -> View {
    let annotations = &case.pod["metadata"]["annotations"];
    let component = json!({
        "metadata": {"name": "c", "namespace": "a", "uid": "5f1f9b62-4d5c-4d0c-9d55-6f5c1c5c9a10", "generation": 1},
        "spec": {
            "name": "c", "template": case.pod["spec"],
            "podMetadata": {"annotations": annotations.as_object().cloned().unwrap_or_default()},
        },
    });
    let component: Component = serde_json::from_value(component).unwrap();
    View {
        component,
        workspace: None,
        siblings: Vec::new(),
        builds: Vec::new(),
    }
}

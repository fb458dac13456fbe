use std::sync::Arc;

use jiff::Timestamp;
use sequencer_api::code::Code;
use sequencer_api::{Component, Workspace};
use serde_json::{Value, json};

use super::*;
use crate::chart::Chart;
use crate::component::ComponentView;
use crate::owned::Owned;
use crate::reconcile::Reconciled as _;
use crate::workspace::children::component;

/// A Workspace whose Component has this deploy section, and says so itself or not yet.
fn view(deploy: &Value, reported: bool) -> WorkspaceView {
    let spec = json!({"components": [{"name": "app", "template": {"containers": []}}]});
    let workspace: Workspace = serde_json::from_value(json!({
        "metadata": {"name": "w", "namespace": "n", "uid": "u", "generation": 1}, "spec": spec,
    }))
    .unwrap();
    let mut app = component(&workspace, workspace.spec.components.first().unwrap());
    app.metadata.generation = Some(1);
    app.status = serde_json::from_value(json!({"deploy": deploy})).unwrap();

    let (chart, now) = (Arc::new(Chart::default()), Timestamp::UNIX_EPOCH);
    let alone = Arc::new(Owned::default());
    let app: Component = if reported {
        let view = ComponentView::new(app.clone().into(), alone, &chart, now);
        app.status = Some(view.status());
        app
    } else {
        app
    };

    let owned = Owned {
        components: vec![Arc::new(app)],
        ..Owned::default()
    };

    WorkspaceView::new(workspace.into(), owned, &|_| None, &chart, now)
}

#[test]
fn a_component_counts_once_it_says_itself_that_it_is_ready() {
    let healthy =
        json!({"state": "Healthy", "observedGeneration": 1, "revision": "r", "replicas": 1});
    for reported in [false, true] {
        assert_eq!(view(&healthy, reported).components.holds, reported);
    }
}

#[test]
fn what_is_wrong_with_a_component_is_told_with_its_code_once() {
    let failure = json!({"code": "E#2005", "message": "words"});
    let failed = json!({"state": "Error", "observedGeneration": 1, "failure": failure});
    let view = view(&failed, true);
    assert_eq!(view.components.reason, Reason::Code(Code::CrashLoop));
    assert_eq!(view.components.text().matches("E#").count(), 1);

    let status = view.status();
    assert_eq!(status.phase, WorkspacePhase::Error);
    let line = status.components.first().unwrap();
    assert_eq!(
        (line.ready, line.reason),
        (Status::False, Reason::Code(Code::CrashLoop))
    );
}

#[test]
fn a_url_that_answered_proves_nothing_of_a_commit_that_came_since() {
    let deploy = json!({"state": "Healthy", "observedGeneration": 1, "revision": "r", "replicas": 1, "commit": "4f2a91c0d3e8"});
    let is_probed = |route: Value| {
        let mut view = view(&deploy, true);
        view.before.route = serde_json::from_value(route).unwrap();
        view.is_probed()
    };
    let healthy = |generation: i64, commit: &str| json!({"state": "Healthy", "observedGeneration": generation, "commit": commit});

    assert!(is_probed(healthy(1, "4f2a91c0d3e8")));
    assert!(!is_probed(healthy(1, "9c1b0de41f77")));
    assert!(!is_probed(healthy(0, "4f2a91c0d3e8")));
}

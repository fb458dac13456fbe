//! Objects of one tenant that carry the marks of another's Workspace.

use anyhow::{Result, ensure};
use lab::release::TENANTS;
use lab::testing::PATIENCE;
use lab::until::until;
use serde_json::{Value, json};

use crate::user::{User, unique};

const COMPONENT: &str = "component.se.quencer.io";

/// A component whose pod does this.
fn component(name: &str, script: &str) -> Value {
    let container =
        json!({"name": name, "image": "app-base:bookworm", "command": ["sh", "-c", script]});
    json!({"name": name, "template": {"containers": [container]}})
}

/// A Workspace of one component that sleeps so long.
fn workspace(name: &str, part: &str, seconds: &str) -> String {
    json!({
        "apiVersion": "se.quencer.io/v1alpha1", "kind": "Workspace", "metadata": {"name": name},
        "spec": {"components": [component(part, &format!("exec sleep {seconds}"))]},
    })
    .to_string()
}

/// An object with every label that the watcher and the deployer write on what belongs to a
/// Workspace.
fn marked(kind: &str, name: &str, owner: &Owner, spec: &Value) -> Value {
    let labels = json!({
        "app.kubernetes.io/managed-by": "sequencer", "app.kubernetes.io/part-of": owner.name,
        "se.quencer.io/workspace": owner.name, "se.quencer.io/workspace-namespace": owner.namespace,
        "se.quencer.io/ws-uid": owner.uid, "se.quencer.io/component": owner.component,
    });
    let annotations = json!({"se.quencer.io/workspace-generation": "99"});
    json!({
        "apiVersion": "se.quencer.io/v1alpha1", "kind": kind, "spec": spec,
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
    })
}

/// The Workspace that is attacked.
struct Owner {
    name: String,
    namespace: &'static str,
    uid: String,
    component: String,
}

/// What was told on an object of this uid.
fn told(user: &User, uid: &str) -> Result<String> {
    let about = format!("involvedObject.uid={uid}");
    user.kubectl(&[
        "get",
        "events",
        "--field-selector",
        &about,
        "-o",
        "jsonpath={range .items[*]}{.reason} {.message}{\"\\n\"}{end}",
    ])
}

#[test]
fn labels_of_another_tenants_workspace_neither_reach_it_nor_keep_a_component_from_running()
-> Result<()> {
    let (friend, stranger) = (User::new()?, User::of(TENANTS[0])?);
    // Components on their own know each other by these names, and other tests have some too.
    let (name, part, good, owned, build) = (
        &unique("marked"),
        &unique("web"),
        &unique("good"),
        &unique("owned"),
        &unique("build"),
    );
    let object = format!("workspace/{name}");
    friend.apply(&workspace(name, part, "1000"))?;
    friend.wait_ready(name)?;
    let uid = friend.field(&object, ".metadata.uid")?;
    let owner = Owner {
        name: name.clone(),
        namespace: friend.namespace,
        uid: uid.clone(),
        component: part.clone(),
    };
    let ours = friend.component(name, part)?;

    // One of the same name that crashes, one that works, one that names the Workspace as its
    // controller, and a Build that nobody can build.
    let same = ours.trim_start_matches(&format!("{COMPONENT}/"));
    let crashes = component(part, "exit 3");
    let works = component(good, "exec sleep 1000");
    let reference = json!([{
        "apiVersion": "se.quencer.io/v1alpha1", "kind": "Workspace", "name": name, "uid": uid, "controller": true,
    }]);
    let mut controlled = marked("Component", owned, &owner, &component(owned, "exit 3"));
    controlled["metadata"]["ownerReferences"] = reference;
    let spec = json!({
        "name": "app", "containerRegistries": [{"url": "myuser/ephemeralbuilds", "tags": [name]}], "runtime": {"pool": "nowhere"},
        "importContent": [{"contentFrom": {"git": {"url": "https://github.com/myuser/myapp.git", "commit": "0".repeat(40)}}}],
    });
    for object in [
        marked("Component", same, &owner, &crashes),
        marked("Component", good, &owner, &works),
        controlled,
        marked("Build", build, &owner, &spec),
    ] {
        stranger.apply(&object.to_string())?;
    }
    stranger.wait_code(&format!("{COMPONENT}/{same}"), "E#2005")?;
    stranger.wait_code(&format!("build.se.quencer.io/{build}"), "E#6066")?;
    // On its own it works, and tells of itself.
    let good_object = format!("{COMPONENT}/{good}");
    stranger.kubectl(&[
        "wait",
        &good_object,
        "--for=condition=Ready",
        "--timeout=120s",
    ])?;
    let good_uid = stranger.field(&good_object, ".metadata.uid")?;
    until(
        "the stranger's Component is told as ready on itself",
        PATIENCE,
        || {
            let told = told(&stranger, &good_uid)?;
            ensure!(told.contains("Ready"), "{told:?}");
            Ok(())
        },
    )?;

    // The owner edits the Workspace, and it becomes ready again: meanwhile all of the above was
    // seen.
    friend.apply(&workspace(name, part, "2000"))?;
    let deployment = ours.replace(COMPONENT, "deployment");
    until("the edit is made", PATIENCE, || {
        let command = friend.field(&deployment, ".spec.template.spec.containers[0].command[2]")?;
        ensure!(command.contains("2000"), "it runs {command:?}");
        Ok(())
    })?;
    friend.wait_ready(name)?;
    let story = told(&friend, &uid)?;
    ensure!(
        !story.is_empty() && story.lines().all(|line| line.starts_with("Ready ")),
        "{story}"
    );
    assert_eq!(friend.field(&object, ".status.componentsReady")?, "1/1");

    // Its end waits for nothing of the stranger's, and takes nothing along.
    friend.delete(name)?;
    for kept in [
        &format!("{COMPONENT}/{same}"),
        &good_object,
        &format!("build.se.quencer.io/{build}"),
    ] {
        let deleted = stranger.field(kept, ".metadata.deletionTimestamp")?;
        ensure!(deleted.is_empty(), "{kept} goes too");
    }
    assert_eq!(stranger.ready(&good_object, "status")?, "True");
    stranger.kubectl(&[
        "delete",
        COMPONENT,
        same,
        good,
        owned,
        "--ignore-not-found",
        "--timeout=60s",
    ])?;
    stranger
        .kubectl(&["delete", "build.se.quencer.io", build, "--timeout=60s"])
        .map(drop)
}

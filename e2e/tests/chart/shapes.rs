//! What a template may not ask for, and who writes statuses, on an API server without nodes.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use lab::release::NAMESPACE;
use lab::until::until;
use serde_json::{Value, json};

use super::admission::{TENANT, USER, installed, object, refused, tenant};

/// A Workspace whose second component has this at this JSON pointer.
fn workspace(path: &str, value: &Value) -> Value {
    let component = |name: &str| {
        let container = json!({"name": "web", "image": "nginx"});
        json!({"name": name, "template": {"containers": [container]}})
    };
    let mut wrong = component("wrong");
    put(&mut wrong, path, value.clone());
    object(
        "Workspace",
        &json!({"components": [component("good"), wrong]}),
    )
}

/// Puts a value at a JSON pointer whose last part is a field.
fn put(component: &mut Value, path: &str, value: Value) {
    let (parent, field) = path.rsplit_once('/').unwrap_or(("", path));
    if let Some(Value::Object(fields)) = component.pointer_mut(parent) {
        fields.insert(field.into(), value);
    }
}

#[test]
fn what_no_template_may_ask_for_is_refused_by_apply_with_the_component_that_does() -> Result<()> {
    let server = installed()?;
    tenant(&server)?;
    let everything = json!([{"operator": "Exists"}]);
    let control_plane =
        json!([{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}]);
    let token =
        json!([{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]);
    let mount = json!([{"name": "data", "mountPath": "/data"}]);
    let wrong = [
        ("/template/serviceAccountName", json!("default"), "E#6023"),
        (
            "/template/automountServiceAccountToken",
            json!(true),
            "E#6023",
        ),
        ("/template/volumes", token, "E#6021"),
        (
            "/template/volumes",
            json!([{"name": "h", "hostPath": {"path": "/"}}]),
            "E#6021",
        ),
        (
            "/template/volumes",
            json!([{"name": "h", "nfs": {"server": "a", "path": "/"}}]),
            "E#6021",
        ),
        ("/template/nodeName", json!("general"), "E#6024"),
        ("/template/runtimeClassName", json!("runc"), "E#6024"),
        (
            "/template/priorityClassName",
            json!("system-node-critical"),
            "E#6024",
        ),
        ("/template/tolerations", everything, "E#6024"),
        ("/template/tolerations", control_plane, "E#6024"),
        ("/template/hostNetwork", json!(true), "E#6020"),
        ("/template/hostPID", json!(true), "E#6020"),
        ("/template/hostIPC", json!(true), "E#6020"),
        (
            "/template/containers/0/ports",
            json!([{"containerPort": 80, "hostPort": 80}]),
            "E#6020",
        ),
        (
            "/template/containers/0/securityContext",
            json!({"privileged": true}),
            "E#6022",
        ),
        (
            "/template/containers/0/volumeMounts",
            mount.clone(),
            "E#6047",
        ),
    ];
    let (path, value, code) = wrong.first().context("nothing is wrong")?;
    until("the policies are in force", Duration::from_secs(30), || {
        ensure!(
            refused(&server, &workspace(path, value), USER, code)?,
            "it is taken"
        );
        Ok(())
    })?;

    for (path, value, code) in &wrong {
        let said = format!("{code} component wrong: ");
        ensure!(
            refused(&server, &workspace(path, value), USER, &said)?,
            "{path} is taken"
        );
    }

    let claim =
        json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    for (path, value) in [
        (
            "/template/volumes",
            json!([{"name": "data", "emptyDir": {}}]),
        ),
        (
            "/volumeClaimTemplates",
            json!([{"metadata": {"name": "data"}, "spec": claim}]),
        ),
    ] {
        let mut right = workspace("/template/containers/0/volumeMounts", &mount);
        let component = &mut right["spec"]["components"][1];
        put(component, path, value);
        server.dry_run(&object("Component", component), Some(USER))?;
        server.dry_run(&right, Some(USER))?;
    }

    // What the watcher makes of a Workspace was judged then: that may have been before this policy.
    let watcher = format!("system:serviceaccount:{NAMESPACE}:watcher");
    let old = workspace("/template/hostNetwork", &json!(true));
    let old = object("Component", &old["spec"]["components"][1]);
    ensure!(refused(&server, &old, USER, "E#6020")?, "it is taken");
    server.dry_run(&old, Some(&watcher))
}

#[test]
fn a_workspace_of_thirty_two_components_is_not_too_expensive_to_judge() -> Result<()> {
    let server = installed()?;
    tenant(&server)?;
    let wrong = workspace("/template/hostNetwork", &json!(true));
    until("the policies are in force", Duration::from_secs(30), || {
        ensure!(refused(&server, &wrong, USER, "E#6020")?, "it is taken");
        Ok(())
    })?;

    let volumes: Vec<_> = (0..16)
        .map(|index| json!({"name": format!("v{index}"), "emptyDir": {}}))
        .collect();
    let mounts: Vec<_> = (0..16)
        .map(|index| json!({"name": format!("v{index}"), "mountPath": format!("/v{index}")}))
        .collect();
    let containers: Vec<_> = (0..8)
        .map(|index| json!({"name": format!("c{index}"), "image": "nginx", "volumeMounts": mounts}))
        .collect();
    let components: Vec<_> = (0..32)
        .map(|index| json!({"name": format!("c{index}"), "template": {"containers": containers, "volumes": volumes}}))
        .collect();
    let largest = object("Workspace", &json!({"components": components}));
    server.dry_run(&largest, Some(USER))
}

#[test]
fn nobody_but_sequencer_and_administrators_writes_statuses() -> Result<()> {
    let server = installed()?;
    tenant(&server)?;
    let container = json!({"name": "web", "image": "nginx"});
    let workspace =
        json!({"components": [{"name": "web", "template": {"containers": [container]}}]});
    let workspace = object("Workspace", &workspace);
    server.apply(&[&serde_yaml::to_value(&workspace)?], &[])?;
    // kubectl reads what it patches.
    server.kubectl(&[
        "create",
        "clusterrole",
        "reader",
        "--verb=get",
        "--resource=workspaces/status",
    ])?;
    let everybody = "--group=system:authenticated";
    server.kubectl(&[
        "create",
        "clusterrolebinding",
        "reader",
        "--clusterrole=reader",
        everybody,
    ])?;

    let is_refused =
        |said: Result<String>| said.is_err_and(|error| error.to_string().contains("E#6048"));
    let patch = |user: Option<&str>| {
        let status = json!({"status": {"host": "theirs.preview.test"}}).to_string();
        let user = user.map(|user| ["--as", user]);
        let patch = [
            "-n",
            TENANT,
            "patch",
            "ws",
            "sample",
            "--subresource=status",
            "--type=merge",
            "--dry-run=server",
            "-p",
            &status,
        ];
        let args: Vec<_> = patch
            .into_iter()
            .chain(user.into_iter().flatten())
            .collect();
        server.kubectl(&args)
    };
    until("the policy is in force", Duration::from_secs(30), || {
        ensure!(is_refused(patch(Some(USER))), "it is taken");
        Ok(())
    })?;

    // Not all of them may write a Workspace's at all.
    let services = ["watcher", "network", "deployer", "registry-pusher"];
    let users = services.map(|name| format!("system:serviceaccount:{NAMESPACE}:{name}"));
    let builder = "system:serviceaccount:sequencer-builds:builder".to_owned();
    for user in users.into_iter().chain([builder]) {
        ensure!(!is_refused(patch(Some(&user))), "{user} is refused");
    }
    patch(None).map(drop)
}

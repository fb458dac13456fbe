//! Claims on volumes: a preview has its own, which begin empty, and nobody else's.

use anyhow::{Result, ensure};
use lab::release::{NAMESPACE, TENANTS};
use serde_json::{Value, json};

use crate::user::{User, unique};

/// What a claim asks for.
fn claim() -> Value {
    json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "16Mi"}}})
}

/// A component that writes to its volume `data`.
fn component(name: &str) -> Value {
    let container = json!({
        "name": "main", "image": "app-base:bookworm", "command": ["sh", "-c", "echo mine > /data/file && exec sleep 1000"],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    });
    json!({"name": name, "template": {"containers": [container]}})
}

fn object(kind: &str, name: &str, spec: &Value) -> String {
    let version = if kind.starts_with("Persistent") {
        "v1"
    } else {
        "se.quencer.io/v1alpha1"
    };
    json!({"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec})
        .to_string()
}

fn with(field: &str, value: &Value) -> Value {
    let mut component = component("web");
    match field {
        "volumeClaimTemplates" => component[field] = value.clone(),
        _ => component["template"][field] = value.clone(),
    }
    json!({"components": [component]})
}

#[test]
fn a_claim_that_somebody_else_made_is_neither_mounted_nor_cloned() -> Result<()> {
    for namespace in [NAMESPACE, TENANTS[0]] {
        let user = User::of(namespace)?;
        let (theirs, name) = (&unique("theirs"), &unique("thief"));
        user.apply(&object("PersistentVolumeClaim", theirs, &claim()))?;

        // As what would lead a claim of its own to their data: that is refused at once.
        let source = json!({"kind": "PersistentVolumeClaim", "name": theirs});
        let choices = [
            ("dataSource", source.clone()),
            ("dataSourceRef", source),
            ("volumeName", json!("their-volume")),
            ("selector", json!({"matchLabels": {"app": "theirs"}})),
        ];
        for (field, value) in choices {
            let mut spec = claim();
            spec[field] = value;
            let own = json!([{"metadata": {"name": "data"}, "spec": spec}]);
            let ephemeral =
                json!([{"name": "data", "ephemeral": {"volumeClaimTemplate": {"spec": spec}}}]);
            for spec in [
                with("volumeClaimTemplates", &own),
                with("volumes", &ephemeral),
            ] {
                let refused = user.apply(&object("Workspace", name, &spec));
                ensure!(
                    refused
                        .as_ref()
                        .is_err_and(|said| format!("{said:#}").contains("E#6021")),
                    "{field}: {refused:?}"
                );
            }
        }

        // By its name: who may mount it is the chart's to say.
        for read_only in [false, true] {
            let name = &unique("thief");
            let volumes = json!([{"name": "data", "persistentVolumeClaim": {"claimName": theirs, "readOnly": read_only}}]);
            user.apply(&object("Workspace", name, &with("volumes", &volumes)))?;
            user.wait_code(&format!("workspace/{name}"), "E#6021")?;
            user.wait_code(&user.component(name, "web")?, "E#6021")?;
            let selector = format!("se.quencer.io/workspace={name}");
            let made = user.kubectl(&["get", "deployments,pods", "-l", &selector, "-o", "name"])?;
            assert_eq!(made.trim(), "");
            user.delete(name)?;
        }
        user.kubectl(&["delete", "pvc", theirs])?;
    }
    Ok(())
}

#[test]
fn a_components_own_claim_is_bound_and_mounted_and_goes_with_it() -> Result<()> {
    let user = User::of(TENANTS[0])?;
    let name = &unique("keeper");
    let claimed = format!("data-{name}");
    // The cluster has no storage but what an administrator makes: a folder of a node, for this
    // claim.
    let folder = format!("/tmp/{name}");
    let volume = json!({
        "capacity": {"storage": "16Mi"}, "accessModes": ["ReadWriteOnce"], "persistentVolumeReclaimPolicy": "Retain",
        "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": user.namespace, "name": claimed},
        "hostPath": {"path": folder, "type": "DirectoryOrCreate"},
    });
    user.cluster.kubectl_fed(
        &["apply", "-f", "-"],
        &object("PersistentVolume", name, &volume),
    )?;
    let mut spec = component(name);
    spec["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}, "spec": claim()}]);
    user.apply(&object("Component", name, &spec))?;
    user.kubectl(&[
        "wait",
        &format!("component/{name}"),
        "--for=condition=Ready",
        "--timeout=120s",
    ])?;

    assert_eq!(
        user.field(&format!("pvc/{claimed}"), ".status.phase")?,
        "Bound"
    );
    let deployment = format!("deployment/{name}");
    let mounted = user.field(
        &deployment,
        ".spec.template.spec.volumes[0].persistentVolumeClaim.claimName",
    )?;
    assert_eq!(mounted, claimed);
    // On the node: what the pod wrote is on its volume, and nowhere else.
    let read = user.kubectl(&[
        "exec",
        &deployment,
        "--",
        "sh",
        "-c",
        "cat /data/file; grep -c ' /data ' /proc/mounts",
    ])?;
    assert_eq!(read.split_whitespace().collect::<Vec<_>>(), ["mine", "1"]);

    user.kubectl(&["delete", "component", name, "--timeout=120s"])?;
    user.kubectl(&[
        "wait",
        &format!("pvc/{claimed}"),
        "--for=delete",
        "--timeout=120s",
    ])?;
    user.cluster.kubectl(&["delete", "pv", name])?;
    user.cluster.general.run(&["rm", "-rf", &folder]).map(drop)
}

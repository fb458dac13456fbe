//! What a template may not ask for.

use sequencer_api::code::Code;
use serde_json::{Value, json};

use crate::plan::testing::{planned, settings, view};

fn refused_template(path: &str, value: Value) -> Option<Code> {
    let view = view("redis", |spec| {
        let (parent, key) = path.rsplit_once('/').unwrap();
        spec["components"][0]["template"]
            .pointer_mut(parent)
            .unwrap()[key] = value;
    });
    planned(&view, &settings(&[]))
        .err()
        .map(|refused| refused.code)
}

#[test]
fn templates_may_not_reach_the_node_or_the_api() {
    for (path, value, code) in [
        ("/hostNetwork", json!(true), Code::HostAccessForbidden),
        ("/hostPID", json!(true), Code::HostAccessForbidden),
        ("/hostIPC", json!(true), Code::HostAccessForbidden),
        (
            "/containers/0/ports/0/hostPort",
            json!(80),
            Code::HostAccessForbidden,
        ),
        (
            "/volumes",
            json!([{"name": "a", "hostPath": {"path": "/"}}]),
            Code::VolumeForbidden,
        ),
        (
            "/volumes",
            json!([{"name": "a", "nfs": {"path": "/", "server": "x"}}]),
            Code::VolumeForbidden,
        ),
        (
            "/volumes",
            json!([{"name": "a", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]),
            Code::VolumeForbidden,
        ),
        (
            "/containers/0/securityContext",
            json!({"privileged": true}),
            Code::PrivilegeForbidden,
        ),
        (
            "/containers/0/securityContext",
            json!({"capabilities": {"add": ["SYS_ADMIN"]}}),
            Code::PrivilegeForbidden,
        ),
        (
            "/containers/0/securityContext",
            json!({"procMount": "Unmasked"}),
            Code::PrivilegeForbidden,
        ),
        (
            "/containers/0/securityContext",
            json!({"seccompProfile": {"type": "Unconfined"}}),
            Code::PrivilegeForbidden,
        ),
        (
            "/securityContext",
            json!({"seccompProfile": {"type": "Unconfined"}}),
            Code::PrivilegeForbidden,
        ),
        (
            "/securityContext",
            json!({"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}),
            Code::PrivilegeForbidden,
        ),
        (
            "/serviceAccountName",
            json!("default"),
            Code::ServiceAccountForbidden,
        ),
        (
            "/serviceAccount",
            json!("default"),
            Code::ServiceAccountForbidden,
        ),
        (
            "/automountServiceAccountToken",
            json!(true),
            Code::ServiceAccountForbidden,
        ),
        ("/nodeName", json!("a"), Code::PlacementForbidden),
        ("/runtimeClassName", json!("a"), Code::PlacementForbidden),
        (
            "/priorityClassName",
            json!("system-node-critical"),
            Code::PlacementForbidden,
        ),
        (
            "/tolerations",
            json!([{"operator": "Exists"}]),
            Code::PlacementForbidden,
        ),
    ] {
        assert_eq!(
            refused_template(path, value.clone()),
            Some(code),
            "{path} {value}"
        );
    }
}

#[test]
fn templates_may_have_what_reaches_neither() {
    for (path, value) in [
        (
            "/volumes",
            json!([{"name": "a", "emptyDir": {}}, {"name": "b", "configMap": {"name": "c"}}]),
        ),
        (
            "/containers/0/securityContext",
            json!({"capabilities": {"add": ["CHOWN"]}}),
        ),
        ("/priorityClassName", json!("previews")),
        ("/hostNetwork", json!(false)),
    ] {
        assert_eq!(
            refused_template(path, value.clone()),
            None,
            "{path} {value}"
        );
    }
}

#[test]
fn the_restricted_level_asks_for_more() {
    let restricted = planned(
        &view("redis", |_spec| ()),
        &settings(&["--pod-security=restricted"]),
    );
    assert_eq!(restricted.unwrap_err().code, Code::PrivilegeForbidden);
}

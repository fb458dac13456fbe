use serde_json::{Value, json};

use super::*;
use crate::plan::testing::{planned, settings, view};

/// Why the sample's redis is refused with this part of its spec.
fn refused(level: &str, path: &str, value: &Value) -> Option<Code> {
    let view = view("redis", |spec| {
        let (parent, key) = path.rsplit_once('/').unwrap();
        spec["components"][0].pointer_mut(parent).unwrap()[key] = value.clone();
    });
    let planned = planned(&view, &settings(&[level]));
    planned.err().map(|refusal| refusal.code)
}

const BASELINE: &str = "--pod-security=baseline";
const PRIVILEGED: &str = "--pod-security=privileged";

/// What a container is asked, with this host in it, by every field that has one.
fn asked(host: &Value) -> Vec<(&'static str, Value)> {
    let http = json!({"httpGet": {"host": host, "port": 80}});
    let tcp = json!({"tcpSocket": {"host": host, "port": 80}});
    let sidecar = json!([{
        "name": "sidecar", "image": "a", "restartPolicy": "Always", "startupProbe": http,
    }]);

    vec![
        ("/template/containers/0/livenessProbe", http.clone()),
        ("/template/containers/0/readinessProbe", tcp.clone()),
        ("/template/containers/0/startupProbe", tcp.clone()),
        (
            "/template/containers/0/lifecycle",
            json!({"postStart": http}),
        ),
        ("/template/containers/0/lifecycle", json!({"preStop": tcp})),
        ("/template/initContainers", sidecar),
    ]
}

#[test]
fn probes_and_hooks_ask_no_other_host() {
    for host in ["169.254.169.254", "127.0.0.1", "metadata.google.internal"] {
        for (path, value) in asked(&json!(host)) {
            assert_eq!(
                refused(BASELINE, path, &value),
                Some(Code::HostAccessForbidden),
                "{path} {value}"
            );
            assert_eq!(refused(PRIVILEGED, path, &value), None, "{path} {value}");
        }
    }
}

#[test]
fn probes_and_hooks_ask_their_own_pod() {
    for host in [json!(""), json!(null)] {
        for (path, value) in asked(&host) {
            assert_eq!(refused(BASELINE, path, &value), None, "{path} {value}");
        }
    }
}

#[test]
fn selinux_confines_a_pod_by_the_types_of_containers_alone() {
    for path in [
        "/template/securityContext",
        "/template/containers/0/securityContext",
    ] {
        let options = |options: Value| json!({"seLinuxOptions": options});

        for wrong in [
            json!({"type": "spc_t"}),
            json!({"type": "container_t", "user": "system_u"}),
            json!({"role": "system_r"}),
        ] {
            let value = options(wrong);
            assert_eq!(
                refused(BASELINE, path, &value),
                Some(Code::PrivilegeForbidden),
                "{path} {value}"
            );
            assert_eq!(refused(PRIVILEGED, path, &value), None, "{path} {value}");
        }

        for allowed in [
            json!({}),
            json!({"type": "", "user": "", "role": ""}),
            json!({"type": "container_t", "level": "s0:c123,c456"}),
            json!({"type": "container_init_t"}),
            json!({"type": "container_kvm_t"}),
            json!({"type": "container_engine_t"}),
        ] {
            let value = options(allowed);
            assert_eq!(refused(BASELINE, path, &value), None, "{path} {value}");
        }
    }
}

#[test]
fn an_annotation_takes_no_container_from_apparmor() {
    let path = "/podMetadata";
    let annotated = |profile: &str| {
        let key = format!("{}redis", annotations::APP_ARMOR);
        json!({"annotations": {key: profile}})
    };

    let unconfined = annotated("unconfined");
    assert_eq!(
        refused(BASELINE, path, &unconfined),
        Some(Code::PrivilegeForbidden)
    );
    assert_eq!(refused(PRIVILEGED, path, &unconfined), None);
    for allowed in ["runtime/default", "localhost/own"] {
        assert_eq!(
            refused(BASELINE, path, &annotated(allowed)),
            None,
            "{allowed}"
        );
    }
}

#[test]
fn an_annotation_gives_no_pod_an_identity_a_network_or_a_device() {
    let annotated = |key: &str| json!({"annotations": {key: "a"}});
    let keys = [
        "iam.amazonaws.com/role",
        "k8s.v1.cni.cncf.io/networks",
        "cdi.k8s.io/gpu",
    ];
    let acting = annotations::ACTING.map(|prefix| format!("{prefix}a"));
    for key in keys.into_iter().chain(acting.iter().map(String::as_str)) {
        let refused = |level| refused(level, "/podMetadata", &annotated(key));
        assert_eq!(refused(BASELINE), Some(Code::PrivilegeForbidden), "{key}");
        assert_eq!(refused(PRIVILEGED), None, "{key}");
    }
    assert_eq!(
        refused(BASELINE, "/podMetadata", &annotated("example.com/role")),
        None
    );
    let inject = annotated("sidecar.istio.io/inject");
    assert_eq!(refused(BASELINE, "/podMetadata", &inject), None);
}

//! What a pod has besides its template, and what of its template stays.

use sequencer_api::labels::REVISION;
use sequencer_api::names;
use serde_json::{Value, json};

use super::pod;
use crate::plan::testing::{planned, settings, view};

fn index(name: &str) -> usize {
    ["redis", "mysql", "click-mania"]
        .iter()
        .position(|each| *each == name)
        .unwrap()
}

#[test]
fn every_pod_has_what_it_must() {
    let pod = pod("redis", |spec| {
        let spec = &mut spec["components"][0]["template"];
        spec["automountServiceAccountToken"] = json!(false);
        spec["enableServiceLinks"] = json!(true);
        spec["containers"][0]["ports"] = json!([]);
    });
    let spec = &pod["spec"];
    assert_eq!(spec["automountServiceAccountToken"], false);
    assert_eq!(spec["enableServiceLinks"], false);
    assert_eq!(
        spec["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault"
    );
    let container = &spec["containers"][0];
    assert_eq!(container["resources"]["limits"]["memory"], "512Mi");
    assert_eq!(container["readinessProbe"]["tcpSocket"]["port"], 6379);
    assert!(spec.get("imagePullSecrets").is_none());
    let labels = &pod["metadata"]["labels"];
    for (label, value) in [
        ("app.kubernetes.io/managed-by", "sequencer"),
        ("app.kubernetes.io/name", "redis"),
        ("app.kubernetes.io/part-of", "workspace-sample-x7k2p"),
        (
            "se.quencer.io/ws-uid",
            "5f1f9b62-4d5c-4d0c-9d55-6f5c1c5c9a10",
        ),
        ("se.quencer.io/component", "redis"),
    ] {
        assert_eq!(labels[label], value);
    }
    assert_eq!(
        pod["metadata"]["annotations"][REVISION]
            .as_str()
            .map(str::len),
        Some(16)
    );
}

#[test]
fn an_image_is_pulled_as_its_own_tag_says_and_not_as_that_of_one_before() {
    let digest = format!("@sha256:{}", "0".repeat(64));
    for (image, policy) in [
        ("redis".to_owned(), "Always"),
        ("redis:latest".into(), "Always"),
        ("localhost:5000/redis".into(), "Always"),
        ("redis:7".into(), "IfNotPresent"),
        ("localhost:5000/redis:7".into(), "IfNotPresent"),
        (format!("redis{digest}"), "IfNotPresent"),
        (format!("redis:7{digest}"), "IfNotPresent"),
        (format!("redis:latest{digest}"), "Always"),
    ] {
        let pod = pod("redis", |spec| {
            let container = &mut spec["components"][0]["template"]["containers"][0];
            container["image"] = json!(image);
        });
        let container = &pod["spec"]["containers"][0];
        assert_eq!(container["imagePullPolicy"], policy, "{image}");
    }
}

#[test]
fn what_names_no_image_is_e6015_with_its_path_and_what_is_wrong() {
    for (image, part) in [
        (json!(null), "name"),
        (json!("UPPER/x"), "name"),
        (json!("nginx:late st"), "tag"),
        (json!("a@sha256:zz"), "digest"),
        (json!("${variables::A}:1:2"), "name"),
    ] {
        let view = view("redis", |spec| {
            spec["variables"] = json!([{"name": "A", "value": "app"}]);
            spec["components"][0]["template"]["containers"][0]["image"] = image.clone();
        });
        let refused = planned(&view, &settings(&[])).unwrap_err();
        assert_eq!(refused.code.number(), 6015, "{image}");
        let says = &refused.message;
        assert!(
            says.starts_with("template.containers[0].image: ")
                && says.ends_with(&format!("its {part} is malformed")),
            "{says}"
        );
    }
}

#[test]
fn what_a_template_says_itself_stays() {
    let pod = pod("click-mania", |spec| {
        let component = &mut spec["components"][index("click-mania")];
        component["podMetadata"] = json!({"labels": {"team": "a"}, "annotations": {"note": "b"}});
        let spec = &mut component["template"];
        spec["imagePullSecrets"] = json!([{"name": "own"}]);
        spec["securityContext"] =
            json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "x"}});
        spec["containers"][0]["resources"] = json!({"limits": {"cpu": "1"}});
        spec["containers"][0]["readinessProbe"] = json!({"httpGet": {"path": "/", "port": 3000}});
    });
    assert_eq!(pod["spec"]["imagePullSecrets"], json!([{"name": "own"}]));
    assert_eq!(
        pod["spec"]["securityContext"]["seccompProfile"]["type"],
        "Localhost"
    );
    assert_eq!(
        pod["spec"]["containers"][0]["resources"],
        json!({"limits": {"cpu": "1"}})
    );

    assert!(
        pod["spec"]["containers"][0]["readinessProbe"]
            .get("tcpSocket")
            .is_none()
    );

    assert_eq!(
        (
            &pod["metadata"]["labels"]["team"],
            &pod["metadata"]["annotations"]["note"]
        ),
        (&json!("a"), &json!("b"))
    );
}

#[test]
fn a_container_without_a_probe_has_to_stay() {
    let stays = |change: fn(&mut Value)| {
        let workload = planned(&view("redis", change), &settings(&[]))
            .unwrap()
            .workload
            .unwrap();
        workload.object.body["spec"]["minReadySeconds"].clone()
    };

    assert_eq!(stays(|_spec| ()), 0);
    assert_eq!(
        stays(|spec| spec["components"][0]["networks"] = json!([])),
        3
    );
}

#[test]
fn a_template_that_ends_is_a_job_and_claims_are_mounted_one_pod_at_a_time() {
    let job = view("redis", |spec| {
        spec["components"][0]["template"]["restartPolicy"] = json!("OnFailure")
    });
    let job = planned(&job, &settings(&[])).unwrap().workload.unwrap();
    assert_eq!(job.object.resource.kind, "Job");
    assert!(
        job.object.body["spec"]["template"]["spec"]["containers"][0]
            .get("readinessProbe")
            .is_none()
    );

    let claims = view("mysql", |spec| {
        let resources = json!({"requests": {"storage": "1Gi"}});
        let claim = json!({"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": resources}});
        spec["components"][1]["volumeClaimTemplates"] = json!([claim]);
    });
    let name = names::claim("data", claims.name());
    let workload = planned(&claims, &settings(&[])).unwrap().workload.unwrap();
    assert_eq!(workload.object.body["spec"]["strategy"]["type"], "Recreate");
    let volume = &workload.object.body["spec"]["template"]["spec"]["volumes"][0];
    assert_eq!(
        *volume,
        json!({"name": "data", "persistentVolumeClaim": {"claimName": name}})
    );
    assert_eq!(
        (workload.claims.len(), workload.claims[0].name()),
        (1, &*name)
    );
}

//! What stands for a variable, and what has no value.

use sequencer_api::code::Code;
use sequencer_api::condition::ConditionType;
use sequencer_api::host::Refusal;
use sequencer_api::status::component::WaitingFor;
use serde_json::{Value, json};

use super::pod;
use crate::plan::View;
use crate::plan::testing::{DIGEST, build, planned, settings, view};

/// What an environment variable of redis with this value becomes.
fn env(value: &str) -> Result<Value, Refusal> {
    env_with(value, |_spec| ())
}

fn env_with(value: &str, change: impl FnOnce(&mut Value)) -> Result<Value, Refusal> {
    let view = view("redis", |spec| {
        spec["components"][0]["template"]["containers"][0]["env"] =
            json!([{"name": "X", "value": value}]);
        change(spec);
    });
    let workload = planned(&view, &settings(&[]))?.workload.unwrap();
    Ok(workload.object.body["spec"]["template"]["spec"]["containers"][0]["env"][0].clone())
}

#[test]
fn every_form_of_a_variable_has_its_value() {
    let host = "workspace-sample-x7k2p-3fq7ad.yourdomain.com";
    let mysql = view("redis", |_spec| ()).owner().service("mysql", "tcp");

    for (text, value) in [
        ("${build::myapp}", DIGEST.to_owned()),
        (
            "${build::myapp.commit}",
            "4f2a91c0d3e84f2a91c0d3e84f2a91c0d3e84f2a".into(),
        ),
        (
            "${components::mysql.networks.tcp}",
            format!("{mysql}.sequencer-system.svc"),
        ),
        (
            "x-${components::mysql.networks.TCP.port}-y",
            "x-3306-y".into(),
        ),
        ("${workspace::host}", host.into()),
        ("${workspace::url}/path", format!("https://{host}/path")),
        (
            "${workspace::name}.${workspace::namespace}",
            "workspace-sample-x7k2p.sequencer-system".into(),
        ),
        (
            "$${build::myapp} ${other::x} $(VAR)",
            "${build::myapp} ${other::x} $(VAR)".into(),
        ),
    ] {
        assert_eq!(env(text).unwrap()["value"], value, "{text}");
    }
}

#[test]
fn variables_stand_in_images_commands_arguments_and_init_containers() {
    let pod = pod("redis", |spec| {
        let container = json!({
            "name": "init", "image": "${build::myapp}", "command": ["sh", "${workspace::name}"],
            "args": ["${components::mysql.networks.tcp.port}"],
        });
        spec["components"][0]["template"]["initContainers"] = json!([container]);
    });
    let init = &pod["spec"]["initContainers"][0];

    assert_eq!(
        (
            &init["image"],
            &init["command"][1],
            &init["args"][0],
            &init["imagePullPolicy"]
        ),
        (
            &json!(DIGEST),
            &json!("workspace-sample-x7k2p"),
            &json!("3306"),
            &json!("Always")
        )
    );
}

#[test]
fn named_values_and_rules_are_put_in_and_rendered_once() {
    let variables = |spec: &mut Value| {
        spec["variables"] = json!([
            {"name": "DB", "value": "mydb"}, {"name": "AT", "value": "at ${workspace::host} $${build::x}"},
        ]);
    };

    assert_eq!(
        env_with("a-${variables::DB}", variables).unwrap()["value"],
        "a-mydb"
    );

    let host = "workspace-sample-x7k2p-3fq7ad.yourdomain.com";
    assert_eq!(
        env_with("${variables::AT}", variables).unwrap()["value"],
        format!("at {host} ${{build::x}}")
    );

    let ingress = |tls: bool| {
        move |spec: &mut Value| {
            let rule = json!({"name": "admin", "component": "redis", "network": "tcp", "subdomain": "admin"});
            spec["networking"] = json!({"dns": {"zone": "yourdomain.com"}, "ingress": {"rules": [rule], "tls": {"enabled": tls}}});
        }
    };

    assert_eq!(
        env_with("${ingress::admin}", ingress(true)).unwrap()["value"],
        format!("admin-{host}")
    );
    assert_eq!(
        env_with("${workspace::url}", ingress(false)).unwrap()["value"],
        format!("http://{host}")
    );
}

#[test]
fn a_generated_value_is_only_ever_a_reference() {
    let generate =
        |spec: &mut Value| spec["variables"] = json!([{"name": "PW", "generate": {"length": 24}}]);
    let variable = env_with("${variables::PW}", generate).unwrap();
    let secret = view("redis", |_spec| ()).owner().variables();

    assert_eq!(
        variable["valueFrom"]["secretKeyRef"],
        json!({"name": secret, "key": "PW"})
    );
    assert!(variable.get("value").is_none());
    assert_eq!(
        env_with("u:${variables::PW}", generate).unwrap_err().code,
        Code::GeneratedVariableEmbedded
    );
}

#[test]
fn what_does_not_exist_and_what_is_malformed_is_refused() {
    for (text, code) in [
        ("${build::nope}", Code::VariableNameUnknown),
        (
            "${components::nope.networks.tcp}",
            Code::VariableNameUnknown,
        ),
        (
            "${components::mysql.networks.nope}",
            Code::VariableNameUnknown,
        ),
        ("${variables::NOPE}", Code::VariableNameUnknown),
        ("${ingress::nope}", Code::VariableNameUnknown),
        ("${components::redis.tcp}", Code::VariableMalformed),
        (
            "${components::redis.ports.tcp}",
            Code::VariableSectionUnknown,
        ),
        (
            "${components::redis.networks.tcp",
            Code::VariableUnterminated,
        ),
    ] {
        assert_eq!(env(text).unwrap_err().code, code, "{text}");
    }

    let no_host = env_with("${workspace::host}", |spec| {
        drop(spec.as_object_mut().unwrap().remove("networking"))
    });
    assert_eq!(no_host.unwrap_err().code, Code::VariableNameUnknown);
}

fn missing(view: &View) -> Vec<WaitingFor> {
    planned(view, &settings(&[])).unwrap().workload.unwrap_err()
}

#[test]
fn what_has_no_value_yet_is_waited_for() {
    let mut unpublished = view("click-mania", |_spec| ());
    unpublished.builds = vec![build("build-1", "2026-01-01T00:00:00Z", None)];
    let waiting = missing(&unpublished);
    assert_eq!(
        (
            waiting.len(),
            &*waiting[0].component_name,
            waiting[0].condition_type
        ),
        (1, "click-mania", ConditionType::Build)
    );

    let mut no_host = view("redis", |spec| {
        spec["components"][0]["template"]["containers"][0]["args"] =
            json!(["${workspace::host}", "${workspace::url}"]);
    });
    no_host.workspace.as_mut().unwrap().status = None;
    let waiting = missing(&no_host);
    assert_eq!(
        (
            waiting.len(),
            &*waiting[0].component_name,
            waiting[0].condition_type
        ),
        (1, "redis", ConditionType::Variables)
    );
}

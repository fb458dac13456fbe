use std::collections::BTreeMap;

use sequencer_api::code::Code;
use sequencer_api::condition::ConditionType;
use sequencer_api::labels::{self, REVISION};
use sequencer_api::status::component::{ComponentStatus, WaitingFor};
use serde_json::{Value, json};

use super::testing::{DIGEST, build, planned, settings, view};
use super::*;

/// The rendered pod template of a component whose first container, or whole template, is changed.
fn pod(name: &str, change: impl FnOnce(&mut Value)) -> Value {
    let workload = planned(&view(name, change), &settings(&[]))
        .unwrap()
        .workload
        .unwrap();
    workload.object.body["spec"]["template"].clone()
}

fn index(name: &str) -> usize {
    ["redis", "mysql", "click-mania"]
        .iter()
        .position(|each| *each == name)
        .unwrap()
}

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

fn refused(name: &str, change: impl FnOnce(&mut Value)) -> Code {
    planned(&view(name, change), &settings(&[]))
        .unwrap_err()
        .code
}

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
fn the_sample_renders_as_it_always_did() {
    let plan = planned(&view("click-mania", |_spec| ()), &settings(&[])).unwrap();
    let workload = plan.workload.unwrap();
    let objects: Vec<_> = plan
        .surroundings
        .iter()
        .chain([&workload.object])
        .map(|object| &object.body)
        .collect();
    let golden: Value = serde_yaml::from_str(include_str!("golden.yaml")).unwrap();
    let text = |objects: &Value| serde_yaml::to_string(objects).unwrap();
    assert_eq!(text(&json!(objects)), text(&golden));
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

#[test]
fn the_old_build_serves_until_the_new_is_published() {
    let (old, new) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    let runs = |latest: &str, serves: Option<&str>, builds: Vec<Build>| {
        let mut view = view("click-mania", |_spec| ());
        let mut status = ComponentStatus {
            latest_build: Some(latest.into()),
            ..ComponentStatus::default()
        };

        status.deploy.build = serves.map(Into::into);
        view.component.status = Some(status);
        view.builds = builds;
        planned(&view, &settings(&[]))
            .unwrap()
            .workload
            .unwrap()
            .used
            .build()
            .unwrap()
            .object
            .clone()
    };

    let (a, b, c) = (
        build("a", old, Some("x@a")),
        build("b", new, Some("x@b")),
        build("c", new, None),
    );
    assert_eq!(runs("b", Some("a"), vec![a.clone(), b.clone()]), "b");
    assert_eq!(
        runs("c", Some("a"), vec![a.clone(), b.clone(), c.clone()]),
        "a"
    );
    assert_eq!(runs("c", None, vec![a.clone(), b.clone(), c]), "b");
    assert_eq!(runs("a", Some("b"), vec![a, b]), "a");
}

#[test]
fn a_build_that_follows_a_branch_has_the_commit_that_it_was_made_from() {
    let commit = |build: Build| {
        let mut view = view("click-mania", |_spec| ());
        view.builds = vec![build];
        let workload = planned(&view, &settings(&[])).unwrap().workload;
        workload
            .ok()
            .map(|workload| workload.used.builds[0].commit.clone())
    };

    let mut follows = json!(build("a", "2026-01-01T00:00:00Z", Some("x@a")));
    let git = &mut follows["spec"]["importContent"][0]["contentFrom"]["git"];
    git.as_object_mut().unwrap().remove("commit");
    assert_eq!(
        commit(serde_json::from_value(follows.clone()).unwrap()),
        None
    );

    let sources = json!([{"path": ".", "url": "https://github.com/a/b", "commit": "c0ffee"}]);
    follows["status"]["image"] = json!({"state": "Completed", "sources": sources});
    assert_eq!(
        commit(serde_json::from_value(follows).unwrap()).as_deref(),
        Some("c0ffee")
    );
}

#[test]
fn nothing_is_planned_that_would_belong_to_nobody() {
    let unstored = |change: fn(&mut View)| {
        let mut view = view("redis", |_spec| ());
        change(&mut view);
        matches!(plan(&view, &settings(&[])), Err(Error::Unstored))
    };

    assert!(!unstored(|_view| ()));
    assert!(unstored(|view| view.component.metadata.uid = None));
    assert!(unstored(|view| {
        view.workspace.as_mut().unwrap().metadata.uid = None;
    }));
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
    assert!(container.get("imagePullPolicy").is_none());
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
fn nothing_that_a_user_writes_makes_a_pod_one_of_the_charts_or_another_workspaces() {
    let forged = [
        labels::PART,
        labels::WORKSPACE_UID,
        labels::COMPONENT,
        labels::MANAGED_BY,
        labels::NAME,
        labels::PART_OF,
    ];
    let forged: BTreeMap<_, _> = forged
        .map(|key| (key.to_owned(), "staging".to_owned()))
        .into();
    let mut view = view("redis", |spec| {
        spec["components"][0]["podMetadata"] = json!({"labels": forged, "annotations": forged});
    });
    let settings = settings(&[
        "--inherit-labels",
        &forged.keys().cloned().collect::<Vec<_>>().join(","),
    ]);

    view.component.metadata.labels = Some(forged.clone());
    view.workspace.as_mut().unwrap().metadata.labels = Some(forged.clone());
    for workspace in [view.workspace.clone(), None] {
        view.workspace = workspace;
        let plan = planned(&view, &settings).unwrap();
        let workload = plan.workload.unwrap().object.body;
        let template = &workload["spec"]["template"]["metadata"];
        let objects = plan
            .surroundings
            .iter()
            .map(|object| &object.body["metadata"]["labels"]);
        let made = [
            &template["labels"],
            &template["annotations"],
            &workload["metadata"]["labels"],
        ];
        for pairs in made.into_iter().chain(objects) {
            assert_eq!(
                pairs
                    .as_object()
                    .unwrap()
                    .values()
                    .find(|value| **value == "staging"),
                None,
                "{pairs}"
            );
        }
    }
}

#[test]
fn a_label_of_the_list_flows_down_and_another_does_not() {
    let mut view = view("redis", |_spec| ());
    let theirs = [("team", "a"), ("example.com/cost", "b"), ("other", "c")];
    let theirs = theirs.map(|(key, value)| (key.to_owned(), value.to_owned()));
    view.workspace.as_mut().unwrap().metadata.labels = Some(theirs.into());
    let workload = planned(
        &view,
        &settings(&["--inherit-labels=team,example.com/cost"]),
    )
    .unwrap()
    .workload
    .unwrap();
    let labels = &workload.object.body["spec"]["template"]["metadata"]["labels"];
    assert_eq!(
        (
            &labels["team"],
            &labels["example.com/cost"],
            labels.get("other")
        ),
        (&json!("a"), &json!("b"), None)
    );
}

#[test]
fn the_revision_changes_with_the_template_alone() {
    let revision = |change: fn(&mut Value)| {
        let workload = planned(&view("redis", change), &settings(&[]))
            .unwrap()
            .workload
            .unwrap();
        (
            workload.revision.clone(),
            workload.object.revision().map(str::to_owned),
        )
    };

    let plain = revision(|_spec| ());
    assert_eq!(plain, revision(|_spec| ()));
    let scaled = revision(|spec| spec["components"][0]["replicas"] = json!(3));
    assert!(scaled.0 == plain.0 && scaled.1 != plain.1);

    let changed = revision(|spec| {
        spec["components"][0]["template"]["containers"][0]["args"] = json!(["--x"])
    });
    assert!(changed.0 != plain.0 && changed.1 != plain.1);
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

#[test]
fn services_are_named_and_reach_the_ports_that_they_should() {
    let view = view("click-mania", |spec| {
        let component = &mut spec["components"][2];
        component["template"]["containers"][0]["ports"] =
            json!([{"name": "web", "containerPort": 3000}]);
        let grpc = json!({"name": "gRPC", "port": 9, "protocol": "UDP", "appProtocol": "x"});
        component["networks"] = json!([{"name": "http", "port": 80, "targetPort": "web"}, grpc]);
    });
    let surroundings = planned(&view, &settings(&[])).unwrap().surroundings;
    let port = |index: usize| &surroundings[index].body["spec"]["ports"][0];

    assert_eq!(
        *port(0),
        json!({"name": "http", "port": 80, "targetPort": "web", "protocol": "TCP"})
    );
    assert_eq!(
        *port(1),
        json!({"name": "grpc", "port": 9, "targetPort": 9, "protocol": "UDP", "appProtocol": "x"})
    );

    let unknown = refused("redis", |spec| {
        spec["components"][0]["networks"][0]["targetPort"] = json!("nope")
    });
    assert_eq!(unknown, Code::TargetPortUnknown);
}

#[test]
fn two_components_of_one_name_without_a_workspace_are_told() {
    let mut view = view("redis", |_spec| ());
    view.workspace = None;
    let mut twin = view.component.clone();
    twin.metadata.name = Some("other".into());
    assert!(planned(&view, &settings(&[])).is_ok());
    view.siblings.push(twin);
    assert_eq!(
        planned(&view, &settings(&[])).unwrap_err().code,
        Code::ComponentNameConflict
    );
}

#[test]
fn a_login_of_this_namespace_becomes_a_pull_secret_and_no_other() {
    let with = |change: fn(&mut Value)| {
        let mut view = view("click-mania", |_spec| ());
        let mut build = json!(view.builds[0]);
        change(&mut build["spec"]["containerRegistries"][0]["credentials"]);
        view.builds = vec![serde_json::from_value(build).unwrap()];
        let pod = planned(&view, &settings(&[]))
            .unwrap()
            .workload
            .unwrap()
            .object
            .body;
        pod.pointer("/spec/template/spec/imagePullSecrets/0/name")
            .cloned()
    };
    let name = names::pull_secret(view("click-mania", |_spec| ()).name());
    assert_eq!(with(|_credentials| ()), Some(json!(name)));
    assert_eq!(
        with(|credentials| credentials["secretRef"]["namespace"] = json!("other")),
        None
    );
    assert_eq!(with(|credentials| *credentials = json!(null)), None);
    assert_eq!(
        with(|credentials| *credentials = json!({"authScheme": "aws"})),
        None
    );
}

#[test]
fn components_of_their_own_have_names_of_their_own() {
    let mut view = view("redis", |spec| {
        let env = json!([{"name": "X", "value": "${components::mysql.networks.tcp}"}]);
        spec["components"][0]["template"]["containers"][0]["env"] = env;
    });
    view.workspace = None;
    view.siblings
        .retain(|sibling| sibling.spec.template.name == "mysql");

    let mysql = view.siblings[0].clone();
    let service = Owner::of(&mysql).service("mysql", "tcp");
    let plan = planned(&view, &settings(&[])).unwrap();
    let env =
        &plan.workload.unwrap().object.body["spec"]["template"]["spec"]["containers"][0]["env"][0];
    assert_eq!(env["value"], format!("{service}.sequencer-system.svc"));

    let kinds: Vec<_> = plan
        .surroundings
        .iter()
        .map(|object| object.resource.kind.as_str())
        .collect();
    assert_eq!(kinds, ["Service", "NetworkPolicy"]);
    assert!(
        plan.surroundings
            .iter()
            .all(|object| object.owner() == view.uid())
    );
}

//! What is wrong with pods shows in the section, and heals with them.

use anyhow::Result;
use sequencer_api::status::State;
use serde_json::{Value, json};

use crate::harness::{Harness, name, until};

/// A Workspace with one component of one container.
fn one(container: Value) -> Value {
    let mut container = container;
    container["name"] = json!("main");
    json!([{"name": "web", "template": {"containers": [container], "terminationGracePeriodSeconds": 1}}])
}

fn failed(section: &Value, code: &str) -> bool {
    section["state"] == json!(State::Error) && section["failure"]["code"] == code
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loop_is_e2005_with_its_last_lines_and_heals() -> Result<()> {
    let harness = Harness::new("crash").await?;
    // It crashes until somebody makes the ConfigMap's other half: the same pod then runs.
    harness
        .cluster
        .kubectl(&["create", "configmap", "switch", "--from-literal=ready=no"])?;
    let script = "test \"$(cat /switch/ready)\" = yes && exec sleep 1000; for i in $(seq 30); do echo line $i; done; exit 3";
    let container = json!({
        "image": "app-base:bookworm", "command": ["sh", "-c", script],
        "volumeMounts": [{"name": "switch", "mountPath": "/switch"}],
    });
    let mut components = one(container);
    components[0]["template"]["volumes"] =
        json!([{"name": "switch", "configMap": {"name": "switch"}}]);
    let workspace = harness.workspace(components).await?;
    harness.deploy(&workspace, "web").await?;
    let section = harness
        .section(&workspace, "web", |section| failed(section, "E#2005"))
        .await?;
    let failure = &section["failure"];
    assert_eq!(
        (&failure["container"], &failure["exitCode"]),
        (&json!("main"), &json!(3)),
        "{section:#}"
    );
    let lines = failure["logTail"].as_array().unwrap();
    assert_eq!(
        (lines.len(), &lines[0], &lines[19]),
        (20, &json!("line 11"), &json!("line 30"))
    );
    assert!(
        section.get("retry").is_none() && section.get("images").is_none(),
        "{section:#}"
    );

    harness.cluster.kubectl(&[
        "patch",
        "configmap",
        "switch",
        "-p",
        r#"{"data":{"ready":"yes"}}"#,
    ])?;
    // A pod of the same revision that finds the switch on.
    harness.cluster.kubectl(&[
        "delete",
        "pods",
        "-l",
        "se.quencer.io/component=web",
        "--wait=false",
    ])?;
    let section = harness
        .section(&workspace, "web", |section| {
            section["state"] == json!(State::Healthy)
        })
        .await?;
    assert!(section.get("failure").is_none(), "{section:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_image_is_e2020_and_another_one_heals_it() -> Result<()> {
    let harness = Harness::new("image").await?;
    let workspace = harness
        .workspace(one(json!({"image": "redis:nope"})))
        .await?;
    harness.deploy(&workspace, "web").await?;
    let section = harness
        .section(&workspace, "web", |section| failed(section, "E#2020"))
        .await?;
    assert_eq!(section["failure"]["container"], "main");
    let patch =
        json!({"spec": {"template": {"containers": [{"name": "main", "image": "redis:latest"}]}}});
    let component = name(&workspace, "web");
    harness.cluster.kubectl(&[
        "patch",
        "component",
        &component,
        "--type=merge",
        "-p",
        &patch.to_string(),
    ])?;
    harness.deploy(&workspace, "web").await?;
    let section = harness
        .section(&workspace, "web", |section| {
            section["state"] == json!(State::Healthy)
        })
        .await?;
    assert_eq!(
        section["images"],
        json!([{"container": "main", "image": "redis:latest"}])
    );
    assert_eq!(section["observedGeneration"], 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_that_no_node_takes_is_e2021() -> Result<()> {
    let harness = Harness::new("place").await?;
    let mut components = one(json!({"image": "redis:latest"}));
    components[0]["template"]["nodeSelector"] = json!({"nowhere": "x"});
    let workspace = harness.workspace(components).await?;
    harness.deploy(&workspace, "web").await?;
    let section = harness
        .section(&workspace, "web", |section| failed(section, "E#2021"))
        .await?;
    assert_eq!(section["failure"]["reason"], "Unschedulable");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_init_container_that_fails_is_e2024_with_its_last_lines() -> Result<()> {
    let harness = Harness::new("init").await?;
    let mut components = one(json!({"image": "redis:latest"}));
    components[0]["template"]["initContainers"] = json!([{"name": "first", "image": "app-base:bookworm", "command": ["sh", "-c", "echo no; exit 4"]}]);
    let workspace = harness.workspace(components).await?;
    harness.deploy(&workspace, "web").await?;
    let section = harness
        .section(&workspace, "web", |section| failed(section, "E#2024"))
        .await?;
    let failure = &section["failure"];
    assert_eq!(
        (
            &failure["container"],
            &failure["exitCode"],
            &failure["logTail"]
        ),
        (&json!("first"), &json!(4), &json!(["no"]))
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quota_that_is_used_up_is_e2022_and_more_of_it_heals() -> Result<()> {
    let harness = Harness::new("quota").await?;
    harness
        .cluster
        .kubectl(&["create", "quota", "none", "--hard=pods=0"])?;

    let workspace = harness
        .workspace(one(json!({"image": "redis:latest"})))
        .await?;
    harness.deploy(&workspace, "web").await?;
    harness
        .section(&workspace, "web", |section| failed(section, "E#2022"))
        .await?;
    harness.cluster.kubectl(&["delete", "quota", "none"])?;
    harness
        .section(&workspace, "web", |section| {
            section["state"] == json!(State::Healthy)
        })
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_runs_once_for_each_template() -> Result<()> {
    let harness = Harness::new("job").await?;
    let container =
        json!({"name": "main", "image": "app-base:bookworm", "command": ["sh", "-c", "true"]});
    let job =
        json!({"name": "good", "template": {"restartPolicy": "Never", "containers": [container]}});
    let workspace = harness.workspace(json!([job])).await?;
    harness.deploy(&workspace, "good").await?;
    let section = harness
        .section(&workspace, "good", |section| {
            section["state"] == json!(State::Completed)
        })
        .await?;
    assert_eq!(section["kind"], "Job");
    // What was run is not run again because somebody cleans up.
    harness
        .cluster
        .kubectl(&["delete", "job", &name(&workspace, "good")])?;
    harness.deploy(&workspace, "good").await?;
    assert!(
        harness
            .cluster
            .field(
                &format!("job/{}", name(&workspace, "good")),
                ".metadata.uid"
            )
            .is_err()
    );
    // What was run is run again when it changes.
    let component = name(&workspace, "good");
    let patch = json!([{"op": "replace", "path": "/spec/template/containers/0/command/2", "value": "exit 0"}]);
    harness.cluster.kubectl(&[
        "patch",
        "component",
        &component,
        "--type=json",
        "-p",
        &patch.to_string(),
    ])?;
    harness.deploy(&workspace, "good").await?;
    let done = |section: &Value| {
        section["state"] == json!(State::Completed) && section["observedGeneration"] == 2
    };
    harness.section(&workspace, "good", done).await?;
    assert!(
        harness
            .cluster
            .field(&format!("job/{component}"), ".metadata.uid")
            .is_ok()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_again_and_again_is_e2005() -> Result<()> {
    let harness = Harness::new("badjob").await?;
    let secret =
        json!({"name": "A", "valueFrom": {"secretKeyRef": {"name": "hidden", "key": "a"}}});

    harness
        .cluster
        .secret("hidden", "Opaque", &json!({"a": "SEQCANARY-1\n"}))?;

    let container = json!({
        "name": "main", "image": "app-base:bookworm", "command": ["sh", "-c", "echo \"why: $A\"; exit 5"], "env": [secret],
    });
    let job = json!({"name": "bad", "template": {"restartPolicy": "OnFailure", "containers": [container]}});
    let workspace = harness.workspace(json!([job])).await?;
    harness.deploy(&workspace, "bad").await?;

    let section = harness
        .section(&workspace, "bad", |section| failed(section, "E#2005"))
        .await?;

    assert_eq!(
        (
            &section["failure"]["exitCode"],
            &section["failure"]["logTail"][0]
        ),
        (&json!(5), &json!("why: ***"))
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_job_runs_again_once_for_each_time_that_somebody_asks() -> Result<()> {
    let harness = Harness::new("jobretry").await?;
    let container = json!({"name": "main", "image": "app-base:bookworm", "command": ["false"]});
    let template = json!({"restartPolicy": "Never", "containers": [container]});
    let job = json!({"name": "bad", "template": template});
    let workspace = harness.workspace(json!([job])).await?;
    harness.deploy(&workspace, "bad").await?;

    let job = format!("job/{}", name(&workspace, "bad"));
    // Left alone it takes Kubernetes minutes to give a Job up.
    let give_up = || {
        harness.patch(
            "job",
            &name(&workspace, "bad"),
            &json!({"spec": {"backoffLimit": 0}}),
        )
    };
    give_up()?;
    let told = |section: &Value| failed(section, "E#2005") && section["state"] == "Error";
    harness.section(&workspace, "bad", told).await?;
    let ran = || harness.cluster.field(&job, ".metadata.uid");
    let mut last = ran()?;
    let component = format!("component/{}", name(&workspace, "bad"));

    for (object, word) in [
        (component.as_str(), "1"),
        ("workspace/shop", "1"),
        ("workspace/shop", "2"),
    ] {
        let annotation = format!("se.quencer.io/retry={word}");
        let annotate = ["annotate", "--overwrite", object, &annotation];
        harness.cluster.kubectl(&annotate)?;

        until("it is run again", async || {
            harness.deploy(&workspace, "bad").await?;
            Ok(ran().is_ok_and(|now| now != last))
        })
        .await?;

        last = ran()?;
        give_up()?;
        until("it fails again", async || {
            let failed = harness
                .cluster
                .field(&job, ".status.conditions[?(@.type=='Failed')].status");
            Ok(failed.is_ok_and(|failed| failed == "True"))
        })
        .await?;
        harness.deploy(&workspace, "bad").await?;
        assert_eq!(ran()?, last, "{word}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_api_server_refuses_is_e2023() -> Result<()> {
    let harness = Harness::still("refusal").await?;
    // It asks nothing.
    let probe = json!({"periodSeconds": 5});
    let workspace = harness
        .workspace(one(
            json!({"image": "redis:latest", "livenessProbe": probe}),
        ))
        .await?;
    harness.deploy(&workspace, "web").await?;

    let section = harness
        .section(&workspace, "web", |section| failed(section, "E#2023"))
        .await?;
    assert_eq!(section["retry"]["code"], "E#2023");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_listens_where_only_it_can_ask_is_told_so_while_it_is_waited_for()
-> Result<()> {
    let harness = Harness::new("loopback").await?;
    let mut components = one(json!({
        "image": "app-base:bookworm",
        "command": ["python3", "-m", "http.server", "--bind", "127.0.0.1", "5173"],
    }));
    components[0]["networks"] = json!([{"name": "http", "port": 80, "targetPort": 5173}]);
    let workspace = harness.workspace(components).await?;
    harness.deploy(&workspace, "web").await?;

    let told = |section: &Value| section["probe"].as_str().map(ToOwned::to_owned);
    let section = harness
        .section(&workspace, "web", |section| told(section).is_some())
        .await?;
    let words = told(&section).unwrap();
    assert_eq!(section["state"], json!(State::InProgress));
    for part in ["container main", "5173", "connection refused", "0.0.0.0"] {
        assert!(words.contains(part), "{words}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_its_liveness_probe_kills_is_steadily_wrong_and_the_probe_is_named()
-> Result<()> {
    let harness = Harness::new("liveness").await?;
    let alive = json!({"exec": {"command": ["false"]}, "periodSeconds": 2, "failureThreshold": 2});
    let container = json!({
        "image": "app-base:bookworm", "command": ["sleep", "1000"], "livenessProbe": alive,
    });
    let workspace = harness.workspace(one(container)).await?;
    harness.deploy(&workspace, "web").await?;

    let section = harness
        .section(&workspace, "web", |section| failed(section, "E#2005"))
        .await?;
    let message = section["failure"]["message"].as_str().unwrap();
    assert!(message.contains("Liveness probe failed"), "{message}");

    // However often it comes up in between.
    let times = || -> Result<u32> {
        let count = ".items[0].status.containerStatuses[0].restartCount";
        Ok(harness.cluster.field("pods", count)?.parse()?)
    };
    let before = times()?;
    until("it was killed twice more", async || {
        let section = harness.section(&workspace, "web", |_section| true).await?;
        assert!(failed(&section, "E#2005"), "{section:#}");
        Ok(times()? > before + 1)
    })
    .await
}

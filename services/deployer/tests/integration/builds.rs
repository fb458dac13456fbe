//! Components that run images of Builds, and values that are made for them. Built images are played
//! by one that was pushed to a registry that asks for a login.

use std::process::Command;

use anyhow::Result;
use k8s_openapi::api::core::v1::Secret;
use kube::Resource as _;
use kube::api::PostParams;
use sequencer_api::status::State;
use sequencer_api::{Build, Workspace};
use serde_json::{Value, json};

use crate::harness::{Harness, name, owner, plain};

const COMMIT: &str = "4f2a91c0d3e84f2a91c0d3e84f2a91c0d3e84f2a";

fn healthy(section: &Value) -> bool {
    section["state"] == json!(State::Healthy)
}

/// A component that runs its build.
fn built(repository: &str) -> Value {
    let credentials = json!({"authScheme": "keyPair", "secretRef": {"name": "company"}});
    let git = json!({"url": "https://github.com/x/y.git"});
    json!([{
        "name": "web", "template": {"containers": [{
            "name": "main", "image": "${build::app}", "env": [{"name": "COMMIT", "value": "${build::app.commit}"}],
        }]},
        "build": {
            "name": "app", "importContent": [{"contentFrom": {"git": git}}],
            "containerRegistries": [{"url": repository, "tags": ["dev"], "credentials": credentials}],
        },
    }])
}

/// A Build of the component as its Workspace is now, published if there is an image.
async fn build(
    harness: &Harness,
    workspace: &Workspace,
    object: &str,
    image: Option<&str>,
) -> Result<()> {
    build_of(harness, workspace, object, COMMIT, image).await
}

/// The same, of this commit of its branch.
async fn build_of(
    harness: &Harness,
    workspace: &Workspace,
    object: &str,
    commit: &str,
    image: Option<&str>,
) -> Result<()> {
    let now: Workspace = harness.api().get(owner(workspace).name).await?;
    let mut spec = json!(now.spec.components[0].build);
    let wanted = &mut spec["importContent"][0]["contentFrom"]["git"]["commit"];
    if wanted.is_null() {
        *wanted = commit.into();
    }

    let owner = harness
        .component(workspace, "web")
        .await?
        .controller_owner_ref(&());
    let metadata = json!({"name": object, "labels": crate::harness::labels(workspace, "web"), "ownerReferences": [owner]});
    let body = json!({"apiVersion": "se.quencer.io/v1alpha1", "kind": "Build", "metadata": metadata, "spec": spec});
    let _: Build = harness
        .api()
        .create(&PostParams::default(), &serde_json::from_value(body)?)
        .await?;
    let component = name(workspace, "web");
    harness.patch_status("component", &component, &json!({"latestBuild": object}))?;
    if let Some(image) = image {
        harness.patch_status(
            "build",
            object,
            &json!({"publish": {"state": "Completed", "image": image}}),
        )?;
    }

    Ok(())
}

/// Copies redis to the registry of the company, and returns its name by digest.
fn publish(harness: &Harness, repository: &str) -> Result<String> {
    let login = harness.cluster.log_in_to_registry()?;
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("config.json"), login)?;

    let crane = |args: &[&str]| -> Result<String> {
        let mut crane = Command::new(harness.cluster.cluster.layout.bin("crane"));
        crane.args(args).env("DOCKER_CONFIG", folder.path()).env(
            "SSL_CERT_FILE",
            harness.cluster.cluster.layout.pki("ca.crt"),
        );
        let done = crane.output()?;
        anyhow::ensure!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
        Ok(String::from_utf8(done.stdout)?.trim().to_owned())
    };

    crane(&[
        "copy",
        "docker.io/library/redis:latest",
        &format!("{repository}:dev"),
    ])?;

    Ok(format!(
        "{repository}@{}",
        crane(&["digest", &format!("{repository}:dev")])?
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_image_is_pulled_with_the_builds_login_and_the_old_serves_until_the_new()
-> Result<()> {
    let harness = Harness::new("private").await?;
    let repository = format!("registry.test/{}/app", harness.namespace());
    let image = publish(&harness, &repository)?;
    let workspace = harness.workspace(built(&repository)).await?;
    build(&harness, &workspace, "app-1", None).await?;
    harness.deploy(&workspace, "web").await?;
    let section = harness
        .section(&workspace, "web", |section| {
            section["state"] == json!(State::Waiting)
        })
        .await?;
    let waits =
        json!([{"componentName": "web", "conditionType": "Build", "conditionStatus": "Completed"}]);
    assert_eq!(section["waitingFor"], waits);

    let publish = json!({"publish": {"state": "Completed", "image": image}});
    harness.patch_status("build", "app-1", &publish)?;
    harness.deploy(&workspace, "web").await?;
    let section = harness.section(&workspace, "web", healthy).await?;
    assert_eq!(
        section["images"],
        json!([{"container": "main", "image": image}])
    );
    assert_eq!(
        (&section["build"], &section["commit"]),
        (&json!("app-1"), &json!(&COMMIT[..12]))
    );

    // A newer Build changes nothing until it is published, and then rolls out in place.
    build(&harness, &workspace, "app-2", None).await?;
    harness.deploy(&workspace, "web").await?;
    assert_eq!(
        harness.section(&workspace, "web", |_section| true).await?,
        section
    );
    let missing = format!("{repository}@sha256:{}", "a".repeat(64));
    harness.patch_status(
        "build",
        "app-2",
        &json!({"publish": {"state": "Completed", "image": missing}}),
    )?;
    harness.deploy(&workspace, "web").await?;
    let failed = harness
        .section(&workspace, "web", |section| {
            section["failure"]["code"] == "E#2020"
        })
        .await?;
    let served = |section: &Value| {
        [
            section["build"].clone(),
            section["images"].clone(),
            section["readyReplicas"].clone(),
        ]
    };
    assert_eq!(served(&failed), served(&section));
    let secret = format!("{}/company", harness.namespace());
    assert!(
        failed["retry"]["secretVersions"][&secret].is_string(),
        "{failed:#}"
    );
    assert_eq!(
        harness.cluster.field(
            &format!("deployment/{}", name(&workspace, "web")),
            ".status.availableReplicas"
        )?,
        "1"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_made_the_same_image_restarts_nothing() -> Result<()> {
    let harness = Harness::still("same").await?;
    let repository = "registry.test/x/app";
    let image = format!("{repository}@sha256:{}", "a".repeat(64));
    let mut components = built(repository);
    components[0]["template"]["containers"][0]
        .as_object_mut()
        .unwrap()
        .remove("env");
    components[0]["build"]["containerRegistries"][0]
        .as_object_mut()
        .unwrap()
        .remove("credentials");
    let workspace = harness.workspace(components).await?;
    let deployment = format!("deployment/{}", name(&workspace, "web"));
    let template = || harness.cluster.field(&deployment, ".spec.template");
    let commit = |at: &str| {
        let path = format!("{at}.labels.se\\.quencer\\.io/commit");
        harness.cluster.field(&deployment, &path)
    };

    build_of(&harness, &workspace, "app-1", COMMIT, Some(&image)).await?;
    harness.deploy(&workspace, "web").await?;
    let before = template()?;
    let next = "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00";
    build_of(&harness, &workspace, "app-2", next, Some(&image)).await?;
    harness.deploy(&workspace, "web").await?;

    // What is kept has one hash: nothing is written again.
    let revision = || {
        let path = ".metadata.annotations.se\\.quencer\\.io/revision";
        harness.cluster.field(&deployment, path)
    };
    let written = revision()?;
    harness.deploy(&workspace, "web").await?;
    assert_eq!(revision()?, written);

    assert_eq!(template()?, before);
    assert_eq!(commit(".spec.template.metadata")?, COMMIT[..12]);
    assert_eq!(commit(".metadata")?, next[..12]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_is_missing_is_told_and_one_that_changes_reaches_the_pods() -> Result<()> {
    let harness = Harness::still("login").await?;
    let workspace = harness.workspace(built("registry.test/x/app")).await?;

    build(
        &harness,
        &workspace,
        "app-1",
        Some(&format!("registry.test/x/app@sha256:{}", "a".repeat(64))),
    )
    .await?;
    harness.deploy(&workspace, "web").await?;

    let section = harness
        .section(&workspace, "web", |section| {
            section["state"] == json!(State::Error)
        })
        .await?;
    let secret = format!("{}/company", harness.namespace());

    assert_eq!(
        (
            &section["retry"]["code"],
            &section["retry"]["secretVersions"][&secret]
        ),
        (&json!("E#1007"), &json!(""))
    );

    let auths = async |password: &str| -> Result<Value> {
        harness.cluster.secret(
            "company",
            "Opaque",
            &json!({"accessKey": "me", "secretToken": password}),
        )?;
        harness.deploy(&workspace, "web").await?;
        let name = format!("{}-pull", name(&workspace, "web"));
        let pull: Secret = harness.api().get(&name).await?;
        let config =
            serde_json::from_slice::<Value>(&pull.data.unwrap_or_default()[".dockerconfigjson"].0)?;
        Ok(config["auths"]["registry.test"].clone())
    };

    assert_eq!(auths("one\n").await?["password"], "one");
    assert_eq!(auths("two").await?["password"], "two");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_value_is_made_once_for_all_components() -> Result<()> {
    let harness = Harness::still("generated").await?;
    let mut components = json!([plain()[0], plain()[1]]);
    for component in components.as_array_mut().unwrap() {
        let env = json!([{"name": "PASSWORD", "value": "${variables::PASSWORD}"}]);
        component["template"]["containers"][0]["env"] = env;
    }

    let variables = json!([{"name": "PASSWORD", "generate": {"length": 24}}]);
    let workspace = harness
        .workspace_with(json!({"components": components, "variables": variables}))
        .await?;
    let (one, two) = tokio::join!(
        harness.deploy(&workspace, "redis"),
        harness.deploy(&workspace, "mysql")
    );
    one?;
    two?;
    let secret = owner(&workspace).variables();
    let made: Secret = harness.api().get(&secret).await?;

    assert_eq!(
        made.data.as_ref().map(|data| data["PASSWORD"].0.len()),
        Some(24)
    );
    harness.deploy(&workspace, "redis").await?;
    let now: Secret = harness.api().get(&secret).await?;
    assert_eq!(
        now.metadata.resource_version,
        made.metadata.resource_version
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_and_a_commit_of_one_edit_are_rolled_out_together() -> Result<()> {
    let harness = Harness::new("together").await?;
    let secret = json!({"accessKey": "me", "secretToken": "one"});
    harness.cluster.secret("company", "Opaque", &secret)?;
    let image = |letter: &str| format!("registry.test/x/app@sha256:{}", letter.repeat(64));
    let workspace = harness.workspace(built("registry.test/x/app")).await?;
    build(&harness, &workspace, "app-1", Some(&image("a"))).await?;
    harness.deploy(&workspace, "web").await?;

    let edits = |at: &str| {
        let git = format!("{at}/build/importContent/0/contentFrom/git/commit");
        let name = format!("{at}/template/containers/0/env/0/name");
        json!([
            {"op": "add", "path": git, "value": COMMIT.replace('4', "5")},
            {"op": "replace", "path": name, "value": "NEW"},
        ])
    };
    let component = name(&workspace, "web");
    harness.patch(
        "workspace",
        owner(&workspace).name,
        &edits("/spec/components/0"),
    )?;
    harness.patch("component", &component, &edits("/spec"))?;
    harness.deploy(&workspace, "web").await?;

    let waiting = |section: &Value| section["state"] == json!(State::Waiting);
    let section = harness.section(&workspace, "web", waiting).await?;
    assert_eq!(section["waitingFor"][0]["conditionType"], "Build");
    let runs = || {
        let of = |path: &str| {
            let container = format!(".spec.template.spec.containers[0].{path}");
            harness
                .cluster
                .field(&format!("deployment/{component}"), &container)
        };
        Ok::<_, anyhow::Error>((of("image")?, of("env[0].name")?))
    };
    assert_eq!(runs()?, (image("a"), "COMMIT".into()));

    build(&harness, &workspace, "app-2", Some(&image("b"))).await?;
    harness.deploy(&workspace, "web").await?;
    assert_eq!(runs()?, (image("b"), "NEW".into()));
    Ok(())
}

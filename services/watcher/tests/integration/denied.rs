//! What the API server does not take is told where it is wanted, and keeps nothing else from being
//! done.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::admissionregistration::v1::{
    ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::core::v1::{ConfigMap, ResourceQuota};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::Request;
use sequencer_api::labels::RETRY;
use sequencer_api::{Component, Workspace};
use serde_json::json;

use crate::harness::{Harness, until};
use crate::life::{plain, sample};
use crate::services::well;

/// A policy that denies what an expression holds for.
struct Policy<'a> {
    harness: &'a Harness,
}

impl<'a> Policy<'a> {
    const NAME: &'static str = "deny";

    /// In force for this resource once it returns.
    async fn new(harness: &'a Harness, resource: &str, expression: &str) -> Result<Self> {
        // Webhooks mostly answer so, and policies where they do not say.
        let reason = if resource == "workspaces/status" {
            "Forbidden"
        } else {
            "Invalid"
        };
        let rule = |group: &str, version: &str, resource: &str| {
            json!({
                "apiGroups": [group], "apiVersions": [version], "resources": [resource],
                "operations": ["CREATE", "UPDATE"],
            })
        };
        let rules = json!([
            rule("se.quencer.io", "v1alpha1", resource),
            rule("", "v1", "configmaps")
        ]);
        // Whether it is in force, a ConfigMap tells.
        let holds = format!("object.kind != 'ConfigMap' && !({expression})");
        let policy = json!({
            "metadata": {"name": Self::NAME},
            "spec": {
                "matchConstraints": {"resourceRules": rules},
                "validations": [{"expression": holds, "message": "not on Fridays", "reason": reason}],
            },
        });
        let binding = json!({
            "metadata": {"name": Self::NAME},
            "spec": {"policyName": Self::NAME, "validationActions": ["Deny"]},
        });
        let new = PostParams::default();
        let policies = Api::<ValidatingAdmissionPolicy>::all(harness.client.clone());
        policies
            .create(&new, &serde_json::from_value(policy)?)
            .await?;
        let bindings = Api::<ValidatingAdmissionPolicyBinding>::all(harness.client.clone());
        bindings
            .create(&new, &serde_json::from_value(binding)?)
            .await?;

        let canary = serde_json::from_value(json!({"metadata": {"name": "canary"}}))?;
        let dry = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        until("the policy is in force", async || {
            let made = harness.all::<ConfigMap>().create(&dry, &canary).await;
            Ok(made.is_err())
        })
        .await?;
        Ok(Self { harness })
    }

    /// How often it denied something.
    async fn denied(&self) -> Result<usize> {
        let request = Request::new("/metrics").list(&ListParams::default())?;
        let metrics = self.harness.client.request_text(request).await?;
        let counts = metrics.lines().filter(|line| {
            line.starts_with("apiserver_validating_admission_policy_check_total{")
                && line.contains("enforcement_action=\"deny\"")
        });
        let numbers = counts.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok());
        Ok(numbers.sum())
    }

    async fn lift(self) -> Result<()> {
        let client = &self.harness.client;
        let bindings = Api::<ValidatingAdmissionPolicyBinding>::all(client.clone());
        bindings
            .delete(Self::NAME, &DeleteParams::default())
            .await?;
        Ok(())
    }
}

fn message(workspace: &Workspace, kind: &str) -> String {
    let conditions = workspace
        .status
        .iter()
        .flat_map(|status| &status.conditions);
    let mut found = conditions.filter(|condition| condition.type_ == kind);
    found
        .next()
        .map(|found| found.message.clone())
        .unwrap_or_default()
}

/// How often an Event with this reason was published about a Workspace.
async fn told(harness: &Harness, name: &str, reason: &str) -> Result<usize> {
    let events = harness.events("Workspace", name).await?;
    Ok(events.iter().filter(|(found, _)| found == reason).count())
}

/// How often something may have been tried since: after waits that double, each of which may be half
/// as long.
fn most(begun: Instant) -> usize {
    let (mut wait, mut at, mut tries) = (2.5, 0.0, 1);
    while at + wait < begun.elapsed().as_secs_f64() {
        at += wait;
        wait *= 2.0;
        tries += 1;
    }
    tries
}

async fn ask(harness: &Harness, name: &str) -> Result<()> {
    let asked = Patch::Merge(json!({"metadata": {"annotations": {RETRY: "1"}}}));
    let all = harness.all::<Workspace>();
    all.patch(name, &PatchParams::default(), &asked).await?;
    Ok(())
}

#[tokio::test]
async fn what_a_quota_has_no_room_for_is_told_and_made_when_there_is_some() -> Result<()> {
    let harness = Harness::new().await?;
    harness.play(well).await?;
    let hard = json!({"count/components.se.quencer.io": "2"});
    let quota = json!({"metadata": {"name": "few"}, "spec": {"hard": hard}});
    let quotas = harness.all::<ResourceQuota>();
    quotas
        .create(&PostParams::default(), &serde_json::from_value(quota)?)
        .await?;
    // Nobody else counts here.
    let counted =
        json!({"status": {"hard": hard, "used": {"count/components.se.quencer.io": "0"}}});
    quotas
        .patch_status("few", &PatchParams::default(), &Patch::Merge(counted))
        .await?;

    harness.workspace("plain", plain()).await?;
    let full = harness.ready("plain", "False", "QuotaExceeded").await?;
    let ready = message(&full, "Ready");
    ensure!(
        ready.starts_with("E#2022 ")
            && ready.contains("Component plain-")
            && ready.contains("exceeded quota"),
        "{ready}"
    );
    // It may heal by itself.
    assert_eq!(message(&full, "Stalled"), "");
    until("the others are ready", async || {
        let found = harness.all::<Workspace>().get("plain").await?;
        let status = found.status.context("no status")?;
        Ok(status.components_ready.as_deref() == Some("2/3"))
    })
    .await?;

    harness.resyncs().await;
    assert_eq!(told(&harness, "plain", "QuotaExceeded").await?, 1);

    quotas.delete("few", &DeleteParams::default()).await?;
    ask(&harness, "plain").await?;
    harness.ready("plain", "True", "Healthy").await?;
    Ok(())
}

#[tokio::test]
async fn a_build_that_a_policy_denies_is_told_tried_seldom_and_made_when_somebody_asks()
-> Result<()> {
    let harness = Harness::new().await?;
    let policy = Policy::new(&harness, "builds", "true").await?;
    let (before, begun) = (policy.denied().await?, Instant::now());
    harness.play(well).await?;
    harness.workspace("sample", sample()?).await?;

    let denied = harness.ready("sample", "False", "AdmissionDenied").await?;
    let ready = message(&denied, "Ready");
    ensure!(
        ready.contains("Build ") && ready.contains("not on Fridays"),
        "{ready}"
    );
    ensure!(
        message(&denied, "Stalled").contains("kubectl annotate"),
        "{denied:?}"
    );

    harness.resyncs().await;
    let (tries, most) = (policy.denied().await? - before, most(begun));
    ensure!(tries <= most, "{tries} tries, and not {most}");
    assert_eq!(told(&harness, "sample", "AdmissionDenied").await?, 1);

    policy.lift().await?;
    ask(&harness, "sample").await?;
    harness.ready("sample", "True", "Healthy").await?;
    Ok(())
}

#[tokio::test]
async fn an_edit_that_is_denied_for_one_component_reaches_the_others() -> Result<()> {
    let harness = Harness::new().await?;
    harness.play(well).await?;
    harness.workspace("plain", plain()).await?;
    harness.ready("plain", "True", "Healthy").await?;

    let images = "object.spec.template.containers.exists(c, c.image == 'redis:8')";
    let policy = Policy::new(
        &harness,
        "components",
        &format!("object.spec.name == 'a' && {images}"),
    )
    .await?;
    let mut edited = plain();
    for index in 0..3 {
        let image = format!("/components/{index}/template/containers/0/image");
        *edited.pointer_mut(&image).context("no image")? = "redis:8".into();
    }
    let patch = Patch::Merge(json!({"spec": edited}));
    let all = harness.all::<Workspace>();
    all.patch("plain", &PatchParams::default(), &patch).await?;

    let denied = harness.ready("plain", "False", "AdmissionDenied").await?;
    let components = message(&denied, "Components");
    ensure!(components.contains("Component plain-a"), "{components}");
    let runs = async |name: &str| -> Result<String> {
        let found = harness.component(name).await?;
        let container = found.spec.template.template.containers.into_iter().next();
        container
            .and_then(|container| container.image)
            .context("no image")
    };
    until("the others are changed", async || {
        Ok(runs("b").await? == "redis:8" && runs("c").await? == "redis:8")
    })
    .await?;
    assert_eq!(runs("a").await?, "redis:latest");

    policy.lift().await?;
    harness.ready("plain", "True", "Healthy").await?;
    assert_eq!(runs("a").await?, "redis:8");
    Ok(())
}

#[tokio::test]
async fn a_status_that_a_policy_denies_is_told_by_one_event_and_tried_seldom() -> Result<()> {
    let harness = Harness::new().await?;
    let policy = Policy::new(&harness, "workspaces/status", "true").await?;
    let (before, begun) = (policy.denied().await?, Instant::now());
    harness.play(well).await?;
    harness.workspace("plain", plain()).await?;
    until("an Event says so", async || {
        Ok(told(&harness, "plain", "AdmissionDenied").await? == 1)
    })
    .await?;

    harness.resyncs().await;
    let (tries, most) = (policy.denied().await? - before, most(begun));
    ensure!(tries <= most, "{tries} tries, and not {most}");
    assert_eq!(told(&harness, "plain", "AdmissionDenied").await?, 1);
    // Its components do not wait for it.
    assert_eq!(harness.count::<Component>().await?, 3);

    policy.lift().await?;
    harness.ready("plain", "True", "Healthy").await?;
    Ok(())
}

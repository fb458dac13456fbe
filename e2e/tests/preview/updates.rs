//! A preview through Traefik, and what a push does to it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::parts::name_server::ZONE;
use e2e::testing::PATIENCE;
use e2e::until::until;
use serde_json::json;

use crate::walk::Walk;

/// The poll interval of the preview, and what is allowed on top of it.
const NOTICED: Duration = Duration::from_secs(10);

#[test]
fn a_push_is_noticed_built_and_rolled_out_at_the_same_url_while_the_old_version_serves() -> Result<()> {
    let walk = Walk::new()?;
    let name = "push";
    let first = walk.push(name, "note", "one")?;
    let mut preview = walk.preview(name, name, "dockerhub-credentials");
    let rule = json!({"name": "web", "component": "app", "network": "http"});
    preview["spec"]["networking"] =
        json!({"dns": {"zone": ZONE}, "ingress": {"className": "traefik", "rules": [rule]}});
    let mixed = "https://${ingress::web}/${components::app.networks.http}:${components::app.networks.http.port}?of=${workspace::host}&$${x}";
    let environment = &mut preview["spec"]["components"][0]["template"]["containers"][0]["env"];
    environment.as_array_mut().context("no env")?.push(json!({"name": "MIXED", "value": mixed}));
    walk.apply(&preview.to_string())?;
    walk.wait_ready(name)?;
    let workspace = format!("workspace/{name}");
    let (url, host) = (walk.field(&workspace, ".status.url")?, walk.field(&workspace, ".status.host")?);
    assert_eq!(url, format!("https://{host}"));
    assert_eq!(walk.clicks(&url)?["commit"], json!(first));
    let component = walk.component(name, "app")?;
    let deployment = component.replace("component.se.quencer.io", "deployment");
    let rendered = walk.field(&deployment, ".spec.template.spec.containers[0].env[?(@.name=='MIXED')].value")?;
    let service = walk.field(&component, ".status.deploy.services[0].host")?;
    assert_eq!(rendered, format!("https://{host}/{service}:80?of={host}&${{x}}"));

    let pushed = Instant::now();
    let second = walk.push(name, "note", "two")?;
    until("the push is noticed", PATIENCE, || {
        let found = walk.field(&component, ".status.source.imports[0].commit")?;
        ensure!(found == second, "it is at {found}");
        Ok(())
    })?;
    ensure!(pushed.elapsed() <= NOTICED, "it was noticed after {:?}", pushed.elapsed());
    // Whoever visits meanwhile gets an answer, of the one version or the other.
    let mut strange = Vec::new();
    until("the new version serves", PATIENCE, || {
        let answer = walk.clicks(&url);
        let commit = answer.as_ref().ok().and_then(|clicks| clicks["commit"].as_str());
        if commit.is_none_or(|commit| commit != first && commit != second) {
            strange.push(format!("{answer:?}"));
        }
        ensure!(commit == Some(second.as_str()), "the old version serves");
        Ok(())
    })?;
    ensure!(strange.is_empty(), "{strange:?}");
    walk.wait_ready(name)?;
    assert_eq!(walk.field(&workspace, ".status.url")?, url);

    // A commit that cannot be built leaves what serves alone, and says so.
    let dockerfile = std::fs::read_to_string(walk.cluster.layout.repository.join("e2e/apps/click/Dockerfile"))?;
    let broken = walk.push(name, "Dockerfile", &format!("{dockerfile}\nRUN echo a step said this && exit 7\n"))?;
    let message = walk.wait_code(&workspace, "E#1011")?;
    ensure!(message.contains(second.get(..12).context("no commit")?), "{message}");
    assert_eq!(walk.clicks(&url)?["commit"], json!(second));
    assert_eq!(walk.field(&workspace, ".status.conditions[?(@.type=='Available')].status")?, "True");
    let builds = walk.kubectl(&[
        "get",
        "builds",
        "-l",
        &format!("se.quencer.io/workspace={name},se.quencer.io/commit={}", &broken[..12]),
        "-o",
        "name",
    ])?;
    let failure = walk.field(builds.trim(), ".status.image.failure")?;
    ensure!(failure.contains("a step said this") && failure.contains("\"exitCode\":7"), "{failure}");
    walk.push(name, "Dockerfile", &dockerfile)?;
    walk.wait_ready(name)?;
    walk.delete(name)?;
    let answer = walk.cluster.general.run(&["dig", "+short", &host])?;
    ensure!(answer.trim().is_empty(), "{host} is still {answer}");
    Ok(())
}

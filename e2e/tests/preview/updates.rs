//! A preview through Traefik, and what a push does to it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lab::parts::name_server::ZONE;
use lab::testing::PATIENCE;
use lab::until::until;
use serde_json::{Value, json};

use crate::manifest;
use crate::user::{User, unique};

/// The poll interval of the preview, and what is allowed on top of it.
const NOTICED: Duration = Duration::from_secs(10);

/// A preview with an Ingress that is ready.
struct Preview {
    user: User,
    name: String,
    workspace: String,
    component: String,
    url: String,
    host: String,
}

impl Preview {
    /// Makes one from a branch of its name, with a variable of many parts.
    fn new(name: &str, mixed: &str) -> Result<Self> {
        let user = User::new()?;
        let mut preview = manifest::preview(name, name, "dockerhub-credentials");
        let rule = json!({"name": "web", "component": "app", "network": "http"});

        preview["spec"]["networking"] =
            json!({"dns": {"zone": ZONE}, "ingress": {"className": "traefik", "rules": [rule]}});

        let environment = &mut preview["spec"]["components"][0]["template"]["containers"][0]["env"];
        environment
            .as_array_mut()
            .context("no env")?
            .push(json!({"name": "MIXED", "value": mixed}));
        user.apply(&preview.to_string())?;
        user.wait_ready(name)?;
        let workspace = format!("workspace/{name}");
        let (url, host) = (
            user.field(&workspace, ".status.url")?,
            user.field(&workspace, ".status.host")?,
        );
        let component = user.component(name, "app")?;

        Ok(Self {
            user,
            name: name.into(),
            workspace,
            component,
            url,
            host,
        })
    }

    fn serves(&self) -> Result<String> {
        let clicks = self.user.clicks(&self.url)?;
        clicks["commit"]
            .as_str()
            .map(ToOwned::to_owned)
            .with_context(|| format!("no commit: {clicks}"))
    }

    /// Waits until the second commit serves; everybody who visits meanwhile gets an answer of it or
    /// of the first.
    fn wait_serves(&self, first: &str, second: &str) -> Result<()> {
        self.visited("the new version serves", &[first, second], |commit| {
            ensure!(commit == second, "the old version serves");
            Ok(())
        })
    }

    /// Waits until something holds, by the commit that serves; everybody who visits meanwhile gets an
    /// answer of one of these.
    fn visited(
        &self,
        what: &str,
        commits: &[&str],
        holds: impl Fn(&str) -> Result<()>,
    ) -> Result<()> {
        let mut strange = Vec::new();
        until(what, PATIENCE, || {
            let answer = self.serves();
            let is_known = |commit: &String| commits.contains(&commit.as_str());
            if !answer.as_ref().is_ok_and(is_known) {
                strange.push(format!("{answer:?}"));
            }
            holds(&answer?)
        })?;
        ensure!(strange.is_empty(), "{strange:?}");
        Ok(())
    }

    fn delete(&self) -> Result<()> {
        self.user.delete(&self.name)?;
        let answer = self
            .user
            .cluster
            .general
            .run(&["dig", "+short", &self.host])?;
        ensure!(answer.trim().is_empty(), "{} is still {answer}", self.host);
        Ok(())
    }
}

#[test]
fn a_push_is_noticed_built_and_rolled_out_at_the_same_url_while_the_old_version_serves()
-> Result<()> {
    let name = &unique("push");
    let first = User::new()?.push(name, "note", name)?;
    let mixed = "https://${ingress::web}/${components::app.networks.http}:${components::app.networks.http.port}?of=${workspace::host}&$${x}";
    let preview = Preview::new(name, mixed)?;
    let Preview {
        user,
        workspace,
        component,
        url,
        host,
        ..
    } = &preview;

    assert_eq!(
        (url, preview.serves()?),
        (&format!("https://{host}"), first.clone())
    );

    let deployment = component.replace("component.se.quencer.io", "deployment");
    let rendered = user.field(
        &deployment,
        ".spec.template.spec.containers[0].env[?(@.name=='MIXED')].value",
    )?;
    let service = user.field(component, ".status.deploy.services[0].host")?;

    assert_eq!(
        rendered,
        format!("https://{host}/{service}:80?of={host}&${{x}}")
    );

    let pushed = Instant::now();
    let second = user.push(name, "note", &format!("{name} again"))?;

    until("the push is noticed", PATIENCE, || {
        let found = user.field(component, ".status.source.imports[0].commit")?;
        ensure!(found == second, "it is at {found}");
        Ok(())
    })?;

    ensure!(
        pushed.elapsed() <= NOTICED,
        "it was noticed after {:?}",
        pushed.elapsed()
    );
    preview.wait_serves(&first, &second)?;
    user.wait_ready(name)?;
    assert_eq!(&user.field(workspace, ".status.url")?, url);
    preview.delete()
}

#[test]
fn ports_are_changed_while_everybody_who_visits_gets_an_answer() -> Result<()> {
    let name = &unique("port");
    let commit = User::new()?.push(name, "note", name)?;
    let preview = Preview::new(name, "")?;
    let Preview {
        user, component, ..
    } = &preview;
    let service = user.field(component, ".status.deploy.services[0].name")?;
    let ports = || user.field(&format!("service/{service}"), ".spec.ports");
    let is_open = |port: u16| {
        let ports: Value = serde_json::from_str(&ports()?)?;
        let numbers = ports.as_array().into_iter().flatten();
        let numbers: Vec<_> = numbers.map(|port| port["port"].clone()).collect();
        ensure!(numbers == [json!(port)], "{numbers:?}");
        Ok(())
    };
    is_open(80)?;

    // Both the Service's and the container's.
    let container = "/spec/components/0/template/containers/0";
    let edit = json!([
        {"op": "add", "path": format!("{container}/env/-"), "value": {"name": "PORT", "value": "3001"}},
        {"op": "replace", "path": format!("{container}/ports/0/containerPort"), "value": 3001},
        {"op": "replace", "path": "/spec/components/0/networks/0/port", "value": 8080},
        {"op": "replace", "path": "/spec/components/0/networks/0/targetPort", "value": 3001},
    ]);
    user.patch(name, &edit)?;
    preview.visited("the new port alone is open", &[&commit], |_commit| {
        is_open(8080)
    })?;
    user.wait_ready(name)?;
    preview.visited("it still serves", &[&commit], |_commit| is_open(8080))?;
    preview.delete()
}

#[test]
fn a_commit_that_cannot_be_built_shows_its_step_and_leaves_what_serves_alone() -> Result<()> {
    let name = &unique("broken");
    let good = User::new()?.push(name, "note", name)?;
    let preview = Preview::new(name, "")?;
    let Preview {
        user, workspace, ..
    } = &preview;
    let broken = user.push_step(name, "RUN echo a step said this && exit 7")?;
    let message = user.wait_code(workspace, "E#1011")?;
    ensure!(message.contains(&good[..12]), "{message}");
    assert_eq!(preview.serves()?, good);
    assert_eq!(
        user.field(
            workspace,
            ".status.conditions[?(@.type=='Available')].status"
        )?,
        "True"
    );

    let labels = format!(
        "se.quencer.io/workspace={name},se.quencer.io/commit={}",
        &broken[..12]
    );
    let build = user.kubectl(&["get", "builds", "-l", &labels, "-o", "name"])?;
    let failure = user.field(build.trim(), ".status.image.failure")?;

    ensure!(
        failure.contains("a step said this") && failure.contains("\"exitCode\":7"),
        "{failure}"
    );
    user.push_step(name, "")?;
    user.wait_ready(name)?;
    preview.delete()
}

//! The life that is broken: two components, of which one is built and waits for the other, with a
//! tunnel and a record; made, pushed to, edited and deleted.

use std::time::Duration;

use anyhow::{Context as _, Result};
use lab::until::eventually_within;
use serde_json::{Value, json};

use super::breaker::Breaker;
use super::plan::Plan;
use crate::outside::{ACCOUNT, PROVIDERS, ZONE};
use crate::preview::Preview;
use crate::state::State;
use crate::world::World;

/// How long nothing may be changed once all is done: longer than whatever comes again by itself.
const SILENCE: Duration = Duration::from_secs(7);

/// How long it may take until then.
const PATIENCE: Duration = Duration::from_secs(60);

/// What stands for the life's own name in a state that all are compared with.
const NAME: &str = "LIFE";

pub(crate) struct Life<'a> {
    pub(crate) number: usize,
    namespace: String,
    breaker: &'a Breaker,
    preview: Preview<'a>,
}

impl<'a> Life<'a> {
    pub(crate) async fn new(
        world: &'a World,
        breaker: &'a Breaker,
        which: usize,
        plans: Vec<Plan>,
    ) -> Result<Self> {
        let namespace = format!("life-{which:0>4}");
        Ok(Self {
            number: breaker.begin(&namespace, plans),
            preview: Preview::new(world, &namespace).await?,
            namespace,
            breaker,
        })
    }

    /// Lives it to the end, unless somebody ends it before. What was there of it before it was
    /// deleted is as expected, or is returned for others to be compared with.
    pub(crate) async fn live(&self, expected: Option<&State>) -> Result<Option<State>> {
        let uid = self.preview.apply(&first()).await?;
        let state = tokio::select! {
            grown = self.grow(expected) => Some(grown?),
            () = self.breaker.ended(self.number) => None,
        };
        if state.is_some() {
            self.preview.remove().await?;
        }

        self.preview.gone(&uid).await.context("deleted")?;
        self.silence().await.context("deleted")?;
        state
            .map(|state| renamed(&state, &self.namespace, NAME))
            .transpose()
    }

    /// Lives it until it is deleted.
    async fn grow(&self, expected: Option<&State>) -> Result<State> {
        let mut spec = first();
        self.preview.settled(&spec).await.context("made")?;

        push(&mut spec);
        self.preview.apply(&spec).await?;
        self.preview.settled(&spec).await.context("pushed to")?;

        edit(&mut spec, &self.namespace);
        self.preview.apply(&spec).await?;
        self.preview.settled(&spec).await.context("edited")?;
        self.silence().await.context("edited")?;
        match expected {
            None => self.preview.state().await,
            Some(expected) => {
                let expected = renamed(expected, NAME, &self.namespace)?;
                let is = self.preview.is(&spec, &expected).await;
                is.context("edited")?;
                Ok(expected)
            }
        }
    }

    async fn silence(&self) -> Result<()> {
        let is_silent = async || {
            let before = self.breaker.changes(self.number);
            tokio::time::sleep(SILENCE).await;
            let after = self.breaker.changes(self.number);
            anyhow::ensure!(before == after, "{} changes meanwhile", after - before);
            Ok(())
        };
        eventually_within("nothing is changed", PATIENCE, SILENCE, is_silent).await
    }
}

fn renamed(state: &State, from: &str, to: &str) -> Result<State> {
    let text = serde_json::to_string(state)?.replace(from, to);
    Ok(serde_json::from_str(&text)?)
}

fn first() -> Value {
    let build = json!({
        "name": "app", "importContent": [{"contentFrom": {"git": {"url": "https://git.example/x/y.git", "ref": "main"}}}],
        "containerRegistries": [{"url": "docker.io/myuser/app", "tags": ["dev"]}],
    });
    let env = json!([
        {"name": "URL", "value": "${workspace::url}"},
        {"name": "DATABASE", "value": "${components::database.networks.redis}"},
    ]);
    json!({
        "components": [
            {
                "name": "database", "networks": [{"name": "redis", "port": 6379}],
                "template": {"containers": [{"name": "main", "image": "redis:latest"}]},
            },
            {
                "name": "app", "networks": [{"name": "http", "port": 80}], "build": build,
                "dependsOn": [{"componentName": "database", "conditionType": "Pod", "conditionStatus": "Healthy"}],
                "template": {"containers": [{"name": "main", "image": "${build::app}", "env": env}]},
            },
        ],
        "networking": {
            "dns": {"zone": ZONE, "provider": PROVIDERS[0]},
            "tunnel": {"cloudflare": {
                "accountId": ACCOUNT, "route": {"component": "app", "network": "http"},
                "secretKeyRef": {"name": "token", "key": "apiKey"},
            }},
        },
    })
}

/// A commit.
fn push(spec: &mut Value) {
    let git = "/components/1/build/importContent/0/contentFrom/git";
    if let Some(git) = spec.pointer_mut(git) {
        git["commit"] = json!("2".repeat(40));
    }
}

/// Other words and another port for one component, and another host.
fn edit(spec: &mut Value, name: &str) {
    spec["components"][0]["template"]["containers"][0]["args"] = json!(["--loglevel", "debug"]);
    spec["components"][0]["networks"][0]["port"] = json!(6380);
    spec["networking"]["dns"]["name"] = json!(name);
}

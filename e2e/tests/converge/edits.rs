//! What people do to a preview: edits of its spec, each of which leaves a valid one, and what they do
//! to its objects by hand.

use anyhow::Result;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Resource;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use sequencer_api::{Build, Component, Workspace};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::world::Preview;

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

macro_rules! edits {
    ($($edit:ident),* $(,)?) => {
        #[derive(Clone, Copy, Debug)]
        pub(crate) enum Edit { $($edit),* }

        const ALL: &[Edit] = &[$(Edit::$edit),*];
    };
}

edits! {
    Image, Literal, Variable, FromVariable, FromComponent, FromHost, Replicas, Add, Remove, Rename, Port, TargetPort,
    AddNetwork, RemoveNetwork, DependsOn, DependsOnNothing, ToJob, ToDeployment, AddBuild, RemoveBuild, Branch, Commit,
    Dockerfile, Tags, Pause, GoOn, ToTunnel, ToIngress, NoNetworking, HostName, GeneratedName, Ttl, PodLabel, NoPodLabel,
    Requests, Recreate, Rolling, Deadline, Command, InitContainer, NoInitContainer, Nothing, DeleteDeployment,
    DeleteService, DeletePolicy, DeleteComponent, DeleteBuild, ImageByHand, PortByHand, ReplicasByHand, Retry, Anew,
}

/// A component without anything special.
fn component(name: &str) -> Value {
    json!({
        "name": name, "networks": [{"name": "http", "port": 80}],
        "template": {"containers": [{"name": "main", "image": "redis:latest", "env": []}]},
    })
}

/// What a preview begins with.
pub(crate) fn first(rng: &mut StdRng) -> Value {
    let count = rng.random_range(1..4);
    let components: Vec<_> = NAMES[..count].iter().map(|name| component(name)).collect();
    let variables =
        json!([{"name": "A", "value": "1"}, {"name": "SECRET", "generate": {"length": 12}}]);
    json!({"components": components, "variables": variables, "paused": false})
}

fn build() -> Value {
    json!({
        "name": "app", "importContent": [{"contentFrom": {"git": {"url": "https://git.example/x/y.git", "ref": "main"}}}],
        "containerRegistries": [{"url": "docker.io/myuser/app", "tags": ["dev"]}],
    })
}

fn rule(component: &str) -> Value {
    json!({"name": "main", "component": component, "network": "http"})
}

impl Edit {
    pub(crate) fn any(rng: &mut StdRng) -> Self {
        *ALL.choose(rng).unwrap_or(&Self::Nothing)
    }

    /// Makes it.
    pub(crate) async fn make(
        self,
        rng: &mut StdRng,
        preview: &Preview<'_>,
        spec: &mut Value,
    ) -> Result<()> {
        if self.by_hand(preview, spec).await? {
            return Ok(());
        }
        self.change(rng, spec);
        preview.apply(spec).await
    }

    /// Changes the spec.
    #[expect(clippy::too_many_lines, reason = "a table of edits")]
    fn change(self, rng: &mut StdRng, spec: &mut Value) {
        let count = spec["components"].as_array().map_or(0, Vec::len);
        let at = rng.random_range(0..count.max(1));
        let number = rng.random_range(1..1000);
        let name = spec["components"][at]["name"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let others: Vec<String> = names(spec)
            .into_iter()
            .filter(|other| *other != name)
            .collect();
        let other = others.choose(rng).cloned();
        let env = |component: &mut Value, value: String| {
            component["template"]["containers"][0]["env"] = json!([{"name": "E", "value": value}]);
        };
        let runs_build = spec["components"][at].get("build").is_some();
        let is_job = spec["components"][at]["template"]
            .get("restartPolicy")
            .is_some();
        let exposed = spec.get("networking").is_some();
        let component = &mut spec["components"][at];

        match self {
            Self::Image if !runs_build => {
                component["template"]["containers"][0]["image"] = json!(format!("redis:{number}"));
            }
            Self::Literal => env(component, number.to_string()),
            Self::Variable => spec["variables"][0]["value"] = json!(number.to_string()),
            Self::FromVariable => env(component, "${variables::A}".into()),
            Self::FromComponent => {
                let other = other.unwrap_or(name);
                env(
                    component,
                    format!(
                        "${{components::{other}.networks.http}}:${{components::{other}.networks.http.port}}"
                    ),
                );
            }
            Self::FromHost => env(component, "${workspace::name}".into()),
            Self::Replicas if !is_job => component["replicas"] = json!(rng.random_range(0..3)),
            Self::Add => {
                let all = names(spec);
                let free: Vec<_> = NAMES
                    .iter()
                    .filter(|name| !all.iter().any(|other| other == *name))
                    .collect();
                if let Some(name) = free.choose(rng) {
                    push(&mut spec["components"], self::component(name));
                }
            }
            Self::Remove if count > 1 => {
                let name = name.clone();
                remove(spec, at);
                forget(spec, &name);
            }
            Self::Rename => {
                let all = names(spec);
                let free: Vec<_> = NAMES
                    .iter()
                    .filter(|name| !all.iter().any(|other| other == *name))
                    .collect();
                if let Some(new) = free.choose(rng) {
                    spec["components"][at]["name"] = json!(new);
                    forget(spec, &name);
                }
            }
            Self::Port => component["networks"][0]["port"] = json!(number),
            Self::TargetPort => component["networks"][0]["targetPort"] = json!(number),
            Self::AddNetwork => {
                component["networks"] =
                    json!([component["networks"][0], {"name": "more", "port": number + 1000}])
            }
            Self::RemoveNetwork => component["networks"] = json!([component["networks"][0]]),
            // Only on earlier ones: no circle.
            Self::DependsOn if at > 0 => {
                let on = spec["components"][rng.random_range(0..at)]["name"].clone();
                let healthy = json!([{"componentName": on, "conditionType": "Pod", "conditionStatus": "Healthy"}]);
                spec["components"][at]["dependsOn"] = healthy;
            }
            Self::DependsOnNothing => drop(
                component
                    .as_object_mut()
                    .and_then(|map| map.remove("dependsOn")),
            ),
            Self::ToJob => {
                for field in ["replicas", "strategy"] {
                    drop(component.as_object_mut().and_then(|map| map.remove(field)));
                }
                component["template"]["restartPolicy"] = json!("Never");
            }
            Self::ToDeployment => drop(
                component["template"]
                    .as_object_mut()
                    .and_then(|map| map.remove("restartPolicy")),
            ),
            Self::AddBuild => {
                let built = spec["components"]
                    .as_array()
                    .is_some_and(|all| all.iter().any(|each| each.get("build").is_some()));
                if !built {
                    spec["components"][at]["build"] = build();
                    spec["components"][at]["template"]["containers"][0]["image"] =
                        json!("${build::app}");
                }
            }
            Self::RemoveBuild if runs_build => {
                drop(
                    component
                        .as_object_mut()
                        .and_then(|map| map.remove("build")),
                );
                component["template"]["containers"][0]["image"] = json!("redis:latest");
            }
            Self::Branch if runs_build => {
                component["build"]["importContent"][0]["contentFrom"]["git"]["ref"] =
                    json!(format!("b{number}"))
            }
            Self::Commit if runs_build => {
                let commit = format!("{number:0>40}");
                component["build"]["importContent"][0]["contentFrom"]["git"]["commit"] =
                    json!(commit);
                env(component, number.to_string());
            }
            Self::Dockerfile if runs_build => {
                component["build"]["dockerfile"] = json!(format!("Dockerfile.{number}"))
            }
            Self::Tags if runs_build => {
                component["build"]["containerRegistries"][0]["tags"] = json!([format!("t{number}")])
            }
            Self::Pause => spec["paused"] = json!(true),
            Self::GoOn => spec["paused"] = json!(false),
            Self::ToTunnel => {
                let route = json!({"component": name, "network": "http"});
                spec["networking"] = json!({"dns": {"zone": "preview.test"}, "tunnel": {"cloudflare": {
                    "accountId": "0".repeat(32), "route": route, "secretKeyRef": {"name": "token", "key": "apiKey"},
                }}});
            }
            Self::ToIngress => {
                spec["networking"] =
                    json!({"dns": {"zone": "preview.test"}, "ingress": {"rules": [rule(&name)]}})
            }
            Self::NoNetworking => drop(
                spec.as_object_mut()
                    .and_then(|map| map.remove("networking")),
            ),
            Self::HostName if exposed => {
                spec["networking"]["dns"]["name"] = json!(format!("n{number}"))
            }
            Self::GeneratedName if exposed => {
                drop(
                    spec["networking"]["dns"]
                        .as_object_mut()
                        .and_then(|map| map.remove("name")),
                );
            }
            Self::Ttl => spec["ttl"] = json!(format!("{number}h")),
            Self::PodLabel => {
                component["podMetadata"] =
                    json!({"labels": {"team": number.to_string()}, "annotations": {"note": "x"}})
            }
            Self::NoPodLabel => drop(
                component
                    .as_object_mut()
                    .and_then(|map| map.remove("podMetadata")),
            ),
            Self::Requests => {
                component["template"]["containers"][0]["resources"] =
                    json!({"requests": {"memory": format!("{number}Mi")}})
            }
            Self::Recreate if !is_job => component["strategy"] = json!({"type": "Recreate"}),
            Self::Rolling => drop(
                component
                    .as_object_mut()
                    .and_then(|map| map.remove("strategy")),
            ),
            Self::Deadline => component["progressDeadlineSeconds"] = json!(number + 60),
            Self::Command => {
                component["template"]["containers"][0]["args"] = json!([number.to_string()])
            }
            Self::InitContainer => {
                component["template"]["initContainers"] =
                    json!([{"name": "first", "image": "redis:latest"}])
            }
            Self::NoInitContainer => drop(
                component["template"]
                    .as_object_mut()
                    .and_then(|map| map.remove("initContainers")),
            ),
            _ => {}
        }
    }

    /// Does it to an object, if that is what it is.
    async fn by_hand(self, preview: &Preview<'_>, spec: &Value) -> Result<bool> {
        let merge = |value: Value| Patch::Merge(value);
        match self {
            Self::DeleteDeployment => delete::<Deployment>(preview).await?,
            Self::DeleteService => delete::<Service>(preview).await?,
            Self::DeletePolicy => delete::<NetworkPolicy>(preview).await?,
            Self::DeleteComponent => delete::<Component>(preview).await?,
            Self::DeleteBuild => delete::<Build>(preview).await?,
            Self::ImageByHand => {
                let operation = json!([{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "nope:1"}]);
                let patch = Patch::Json::<()>(serde_json::from_value(operation)?);
                change::<Deployment, _>(preview, &patch).await?;
            }
            Self::PortByHand => {
                let operation =
                    json!([{"op": "replace", "path": "/spec/ports/0/targetPort", "value": 9}]);
                let patch = Patch::Json::<()>(serde_json::from_value(operation)?);
                change::<Service, _>(preview, &patch).await?;
            }
            Self::ReplicasByHand => {
                change::<Component, _>(preview, &merge(json!({"spec": {"replicas": 3}}))).await?
            }
            Self::Retry => {
                let asked =
                    merge(json!({"metadata": {"annotations": {"se.quencer.io/retry": "now"}}}));
                change::<Workspace, _>(preview, &asked).await?;
            }
            Self::Anew => {
                preview
                    .api::<Workspace>()
                    .delete(Preview::NAME, &DeleteParams::default())
                    .await?;
                while preview
                    .api::<Workspace>()
                    .get_opt(Preview::NAME)
                    .await?
                    .is_some()
                {
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
                preview.apply(spec).await?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn names(spec: &Value) -> Vec<String> {
    let components = spec["components"].as_array().into_iter().flatten();
    components
        .filter_map(|each| each["name"].as_str().map(ToOwned::to_owned))
        .collect()
}

fn push(list: &mut Value, value: Value) {
    if let Some(list) = list.as_array_mut() {
        list.push(value);
    }
}

fn remove(spec: &mut Value, at: usize) {
    if let Some(list) = spec["components"].as_array_mut() {
        list.remove(at);
    }
}

/// Whatever named a component that is not there any more.
fn forget(spec: &mut Value, name: &str) {
    let all = names(spec);
    let first = all.first().cloned().unwrap_or_default();

    for component in spec["components"].as_array_mut().into_iter().flatten() {
        if component["dependsOn"][0]["componentName"] == name {
            drop(
                component
                    .as_object_mut()
                    .and_then(|map| map.remove("dependsOn")),
            );
        }
        let env = &mut component["template"]["containers"][0]["env"];
        if env.to_string().contains(&format!("components::{name}.")) {
            *env = json!([]);
        }
    }
    for at in [
        "/networking/tunnel/cloudflare/route/component",
        "/networking/ingress/rules/0/component",
    ] {
        if let Some(found) = spec.pointer_mut(at).filter(|found| **found == name) {
            *found = json!(first);
        }
    }
}

async fn delete<K>(preview: &Preview<'_>) -> Result<()>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
{
    let api = preview.api::<K>();
    if let Some(first) = api.list(&ListParams::default()).await?.items.first() {
        drop(
            api.delete(&first.name_any(), &DeleteParams::default())
                .await,
        );
    }
    Ok(())
}

async fn change<K, P>(preview: &Preview<'_>, patch: &Patch<P>) -> Result<()>
where
    K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned,
    P: serde::Serialize + std::fmt::Debug,
{
    let api = preview.api::<K>();
    if let Some(first) = api.list(&ListParams::default()).await?.items.first() {
        drop(
            api.patch(&first.name_any(), &PatchParams::default(), patch)
                .await,
        );
    }
    Ok(())
}

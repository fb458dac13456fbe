//! What people change in the spec of a preview. Each edit leaves a valid one.

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde_json::{Value, json};

use crate::outside::{ACCOUNT, PROVIDERS, SECOND_ACCOUNT, ZONE};

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

macro_rules! edits {
    ($($edit:ident),* $(,)?) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Edit { $($edit),* }

        const ALL: &[Edit] = &[$(Edit::$edit),*];
    };
}

edits! {
    Image, Literal, NoEnv, Variable, FromVariable, FromSecret, FromComponent, FromHost, FromUrl, Command, Requests, Labels,
    InitContainer, Replicas, Recreate, Deadline, Port, TargetPort, Network, DependsOn, Job, Add, Remove, Rename, Build,
    Branch, Commit, Dockerfile, Tags, Pause, GoOn, ToTunnel, ToIngress, NoNetworking, Route, MoreRoutes, HostName,
    Account, Provider, Ttl,
}

/// A component without anything special.
fn component(name: &str) -> Value {
    json!({
        "name": name, "networks": [{"name": "http", "port": 80}],
        "template": {"containers": [{"name": "main", "image": "redis:latest"}]},
    })
}

/// What a preview begins with.
pub(crate) fn first(seed: u64, rng: &mut StdRng) -> Value {
    let count = rng.random_range(1..4);
    let components: Vec<_> = NAMES[..count].iter().map(|name| component(name)).collect();
    let mut spec = json!({
        "components": components, "paused": false,
        "variables": [
            {"name": "A", "value": "1"}, {"name": "SECRET", "generate": {"length": 12}},
            {"name": "SEED", "value": seed.to_string()},
        ],
    });
    match rng.random_range(0..3) {
        0 => Edit::ToTunnel.make(rng, &mut spec),
        1 => Edit::ToIngress.make(rng, &mut spec),
        _ => {}
    }
    spec
}

fn build() -> Value {
    json!({
        "name": "app", "importContent": [{"contentFrom": {"git": {"url": "https://git.example/x/y.git", "ref": "main"}}}],
        "containerRegistries": [{"url": "docker.io/myuser/app", "tags": ["dev"]}],
    })
}

impl Edit {
    pub(crate) fn any(rng: &mut StdRng) -> Self {
        *ALL.choose(rng).unwrap_or(&Self::Ttl)
    }

    /// Changes the spec, if it can be changed so.
    pub(crate) fn make(self, rng: &mut StdRng, spec: &mut Value) {
        let number: u32 = rng.random_range(1..1000);
        let all = names(spec);
        let at = rng.random_range(0..all.len().max(1));
        let Some(name) = all.get(at) else { return };

        match self {
            Self::Add | Self::Rename => {
                let free = NAMES
                    .iter()
                    .filter(|name| !all.iter().any(|other| other == *name));
                let free: Vec<_> = free.collect();
                let Some(new) = free.choose(rng) else { return };
                if self == Self::Add {
                    push(&mut spec["components"], component(new));
                } else {
                    spec["components"][at]["name"] = json!(new);
                    forget(spec, name);
                }
            }
            Self::Remove if all.len() > 1 => {
                spec["components"]
                    .as_array_mut()
                    .map(|list| list.remove(at));
                forget(spec, name);
            }
            // Only on earlier ones: no circle.
            Self::DependsOn if at > 0 => {
                let on = &all[rng.random_range(0..at)];
                let healthy = json!([{"componentName": on, "conditionType": "Pod", "conditionStatus": "Healthy"}]);
                toggle(&mut spec["components"][at], "dependsOn", healthy);
            }
            Self::FromComponent => {
                let other = all.choose(rng).unwrap_or(name);
                let address = format!(
                    "${{components::{other}.networks.http}}:${{components::{other}.networks.http.port}}"
                );
                set_env(&mut spec["components"][at], &address);
            }
            // Components that build share one Build, and others may run what they built.
            Self::Build => match all.iter().position(|other| has_build(spec, other)) {
                None => {
                    spec["components"][at]["build"] = build();
                    *image(&mut spec["components"][at]) = json!("${build::app}");
                }
                Some(maker) if maker == at => {
                    for component in spec["components"].as_array_mut().into_iter().flatten() {
                        take(component, "build");
                        if image(component) == "${build::app}" {
                            *image(component) = json!("redis:latest");
                        }
                    }
                }
                Some(maker) => {
                    if number.is_multiple_of(2) {
                        spec["components"][at]["build"] =
                            spec["components"][maker]["build"].clone();
                    }
                    *image(&mut spec["components"][at]) = json!("${build::app}");
                }
            },
            Self::Branch | Self::Commit | Self::Dockerfile | Self::Tags => {
                let components = spec["components"].as_array_mut().into_iter().flatten();
                components
                    .filter(|component| component.get("build").is_some())
                    .for_each(|component| self.of_build(component, number));
            }
            Self::FromUrl if spec.get("networking").is_some() => {
                set_env(&mut spec["components"][at], "${workspace::url}");
            }
            Self::Variable => spec["variables"][0]["value"] = json!(number.to_string()),
            Self::Pause => spec["paused"] = json!(true),
            Self::GoOn => spec["paused"] = json!(false),
            Self::Ttl => spec["ttl"] = json!(format!("{number}h")),
            Self::ToTunnel | Self::ToIngress | Self::NoNetworking => self.expose(spec, name),
            Self::Route | Self::MoreRoutes | Self::HostName | Self::Account | Self::Provider => {
                self.route(spec, name, number);
            }
            _ => self.of_component(&mut spec["components"][at], number),
        }
    }

    /// Changes one component.
    fn of_component(self, component: &mut Value, number: u32) {
        let is_job = component["template"].get("restartPolicy").is_some();
        let container = "/template/containers/0";

        match self {
            Self::Image if component.get("build").is_none() => {
                *image(component) = json!(format!("redis:{number}"))
            }
            Self::Literal => set_env(component, &number.to_string()),
            Self::NoEnv => component
                .pointer_mut(container)
                .into_iter()
                .for_each(|found| take(found, "env")),
            Self::FromVariable => set_env(component, "${variables::A}"),
            Self::FromSecret => set_env(component, "${variables::SECRET}"),
            Self::FromHost => set_env(component, "${workspace::name}"),
            Self::Command => {
                component["template"]["containers"][0]["args"] = json!([number.to_string()])
            }
            Self::Requests => {
                let requests = json!({"requests": {"memory": format!("{number}Mi")}});
                toggle(
                    &mut component["template"]["containers"][0],
                    "resources",
                    requests,
                );
            }
            Self::Labels => {
                let metadata =
                    json!({"labels": {"team": number.to_string()}, "annotations": {"note": "x"}});
                toggle(component, "podMetadata", metadata);
            }
            Self::InitContainer => {
                let first = json!([{"name": "first", "image": "redis:latest"}]);
                toggle(&mut component["template"], "initContainers", first);
            }
            Self::Replicas if !is_job => component["replicas"] = json!(number % 3),
            Self::Recreate if !is_job => toggle(component, "strategy", json!({"type": "Recreate"})),
            Self::Deadline if !is_job => {
                toggle(component, "progressDeadlineSeconds", json!(number + 60))
            }
            Self::Port => component["networks"][0]["port"] = json!(number),
            Self::TargetPort => toggle(&mut component["networks"][0], "targetPort", json!(number)),
            Self::Network => {
                let own = component["networks"][0].take();
                let has_more = component["networks"]
                    .as_array()
                    .is_some_and(|list| list.len() > 1);
                component["networks"] = json!([own]);
                if !has_more {
                    push(
                        &mut component["networks"],
                        json!({"name": "more", "port": number + 1000}),
                    );
                }
            }
            Self::Job => {
                for field in ["replicas", "strategy", "progressDeadlineSeconds"] {
                    take(component, field);
                }
                toggle(&mut component["template"], "restartPolicy", json!("Never"));
            }
            _ => {}
        }
    }

    fn of_build(self, component: &mut Value, number: u32) {
        let build = &mut component["build"];
        match self {
            Self::Branch => {
                build["importContent"][0]["contentFrom"]["git"]["ref"] = json!(format!("b{number}"))
            }
            Self::Dockerfile => build["dockerfile"] = json!(format!("Dockerfile.{number}")),
            Self::Tags => build["containerRegistries"][0]["tags"] = json!([format!("t{number}")]),
            // With what the pods are made of.
            _ => {
                build["importContent"][0]["contentFrom"]["git"]["commit"] =
                    json!(format!("{number:0>40}"));
                set_env(component, &number.to_string());
            }
        }
    }

    /// Changes the way from outside.
    fn expose(self, spec: &mut Value, name: &str) {
        let networking = match self {
            Self::ToTunnel => json!({"dns": {"zone": ZONE}, "tunnel": {"cloudflare": {
                "accountId": ACCOUNT, "route": {"component": name, "network": "http"},
                "secretKeyRef": {"name": "token", "key": "apiKey"},
            }}}),
            Self::ToIngress => {
                let rule = json!({"name": "main", "component": name, "network": "http"});
                json!({"dns": {"zone": ZONE}, "ingress": {"rules": [rule]}})
            }
            _ => {
                drop_env(spec, "${workspace::url}");
                return take(spec, "networking");
            }
        };
        spec["networking"] = networking;
    }

    /// Changes something of the way from outside, if there is one.
    fn route(self, spec: &mut Value, name: &str, number: u32) {
        let more =
            json!({"name": "more", "component": name, "network": "http", "subdomain": "more"});
        // It is no other preview's.
        let host = format!(
            "s{}-{number}",
            spec["variables"][2]["value"].as_str().unwrap_or_default()
        );
        let Some(networking) = spec.get_mut("networking") else {
            return;
        };
        match self {
            Self::HostName => return toggle(&mut networking["dns"], "name", json!(host)),
            Self::Provider => networking["dns"]["provider"] = json!(PROVIDERS[number as usize % 2]),
            _ => {}
        }

        if let Some(ingress) = networking.get_mut("ingress") {
            match self {
                Self::Route => ingress["rules"][0]["component"] = json!(name),
                Self::MoreRoutes => {
                    let own = ingress["rules"][0].take();
                    let has_more = ingress["rules"]
                        .as_array()
                        .is_some_and(|list| list.len() > 1);
                    ingress["rules"] = json!([own]);
                    if !has_more {
                        push(&mut ingress["rules"], more);
                    }
                }
                _ => {}
            }
            return;
        }

        let tunnel = &mut networking["tunnel"]["cloudflare"];
        match self {
            Self::Route => tunnel["route"]["component"] = json!(name),
            Self::Account => {
                tunnel["accountId"] = json!([ACCOUNT, SECOND_ACCOUNT][number as usize % 2])
            }
            Self::MoreRoutes => {
                toggle(tunnel, "additionalRoutes", json!([more]));
            }
            _ => {}
        }
    }
}

fn names(spec: &Value) -> Vec<String> {
    let components = spec["components"].as_array().into_iter().flatten();
    components
        .filter_map(|each| each["name"].as_str().map(ToOwned::to_owned))
        .collect()
}

fn has_build(spec: &Value, name: &str) -> bool {
    let mut components = spec["components"].as_array().into_iter().flatten();
    components.any(|each| each["name"] == name && each.get("build").is_some())
}

fn image(component: &mut Value) -> &mut Value {
    &mut component["template"]["containers"][0]["image"]
}

fn set_env(component: &mut Value, value: &str) {
    component["template"]["containers"][0]["env"] = json!([{"name": "E", "value": value}]);
}

/// Takes away the variables that hold this text.
fn drop_env(spec: &mut Value, text: &str) {
    for component in spec["components"].as_array_mut().into_iter().flatten() {
        let container = &mut component["template"]["containers"][0];
        if container.to_string().contains(text) {
            take(container, "env");
        }
    }
}

fn push(list: &mut Value, value: Value) {
    if let Some(list) = list.as_array_mut() {
        list.push(value);
    }
}

fn take(object: &mut Value, field: &str) {
    if let Some(object) = object.as_object_mut() {
        object.remove(field);
    }
}

/// Takes a field away, or sets it where it is absent.
fn toggle(object: &mut Value, field: &str, value: Value) {
    if object.get(field).is_some() {
        take(object, field);
    } else {
        object[field] = value;
    }
}

/// Whatever named a component that is not there any more names another.
fn forget(spec: &mut Value, gone: &str) {
    let first = json!(names(spec).first());
    let built = names(spec).iter().any(|name| has_build(spec, name));
    drop_env(spec, &format!("components::{gone}."));

    for component in spec["components"].as_array_mut().into_iter().flatten() {
        if component["dependsOn"][0]["componentName"] == gone {
            take(component, "dependsOn");
        }
        if !built && image(component) == "${build::app}" {
            *image(component) = json!("redis:latest");
        }
    }

    for at in [
        "/networking/tunnel/cloudflare/route/component",
        "/networking/tunnel/cloudflare/additionalRoutes/0/component",
        "/networking/ingress/rules/0/component",
        "/networking/ingress/rules/1/component",
    ] {
        if let Some(found) = spec.pointer_mut(at).filter(|found| **found == gone) {
            *found = first.clone();
        }
    }
}

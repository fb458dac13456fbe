//! The Secret of generated variables: each is made once and never again.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use rand::Rng as _;
use rand::distr::Alphanumeric;
use serde_json::{Value, json};

use crate::error::Error;
use crate::plan::{Used, View, controller, variables_metadata};
use crate::service::Service;

/// The most Secrets that are read for their values.
const SECRETS: usize = 16;

impl Service {
    /// Makes the values that are not there yet.
    pub(crate) async fn provide_variables(&self, view: &View, used: &Used) -> Result<(), Error> {
        if used.generated.is_empty() {
            return Ok(());
        }

        let api: Api<Secret> = Api::namespaced(self.client().clone(), view.namespace());
        let name = view.owner().variables();
        let Some(found) = api.get_opt(&name).await? else {
            let body = json!({
                "metadata": variables_metadata(view, self.settings(), &name)?, "data": missing(used, &BTreeMap::new()),
            });
            let made = api
                .create(&PostParams::default(), &serde_json::from_value(body)?)
                .await;

            return made
                .map(drop)
                .map_err(|error| Error::of_write(error, "Secret", &name));
        };

        let owner =
            controller(found.metadata.owner_references.as_ref()).map(|owner| owner.uid.as_str());
        if owner != Some(view.owner().uid) {
            return Err(Error::foreign("Secret", &name));
        }

        let new = missing(used, found.data.as_ref().unwrap_or(&BTreeMap::new()));
        if new.is_empty() {
            return Ok(());
        }

        // The version that was read: else two replicas would each make a value, and a pod would
        // have the first.
        let patch =
            json!({"metadata": {"resourceVersion": found.metadata.resource_version}, "data": new});
        let patched = api
            .patch(&name, &PatchParams::default(), &Patch::Merge(&patch))
            .await;

        patched
            .map(drop)
            .map_err(|error| Error::of_write(error, "Secret", &name))
    }

    /// The values of the Secrets that a template's variables come from, which no log may show.
    pub(crate) async fn secret_values(
        &self,
        view: &View,
        template: &Value,
    ) -> kube::Result<Vec<String>> {
        let api: Api<Secret> = Api::namespaced(self.client().clone(), view.namespace());
        let mut values = Vec::new();

        for name in secrets_of(template).into_iter().take(SECRETS) {
            let data = api.get_opt(&name).await?.and_then(|found| found.data);
            let data = data.into_iter().flatten().map(|(_key, value)| value);
            let texts = data.filter_map(|ByteString(value)| String::from_utf8(value).ok());
            values.extend(texts.map(|text| text.trim_end().to_owned()));
        }

        // A longer one first: else what is left of it would show.
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        Ok(values)
    }
}

/// The names of Secrets that containers take variables from.
fn secrets_of(pod_template: &Value) -> BTreeSet<String> {
    let containers = |field: &str| {
        let containers = pod_template
            .pointer(&format!("/spec/{field}"))
            .and_then(Value::as_array);
        containers.into_iter().flatten()
    };

    let lists = containers("initContainers").chain(containers("containers"));
    let sources = lists.flat_map(|container| {
        let list = |field: &str| {
            container
                .get(field)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
        };

        let single =
            list("env").filter_map(|variable| variable.pointer("/valueFrom/secretKeyRef/name"));

        single
            .chain(list("envFrom").filter_map(|source| source.pointer("/secretRef/name")))
            .collect::<Vec<_>>()
    });
    sources.filter_map(Value::as_str).map(Into::into).collect()
}

/// Values for the names that have none.
fn missing(used: &Used, have: &BTreeMap<String, ByteString>) -> BTreeMap<String, ByteString> {
    let new = used
        .generated
        .iter()
        .filter(|(name, _)| !have.contains_key(name));
    new.map(|(name, length)| (name.clone(), ByteString(random(*length).into_bytes())))
        .collect()
}

fn random(length: i32) -> String {
    let mut rng = rand::rng();
    (0..length)
        .map(|_| char::from(rng.sample(Alphanumeric)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_made_and_every_time_another() {
        let used = Used {
            generated: vec![("A".into(), 24), ("B".into(), 8)],
            ..Used::default()
        };

        let have = BTreeMap::from([("A".to_owned(), ByteString(b"kept".to_vec()))]);
        let (one, two) = (missing(&used, &have), missing(&used, &have));
        assert_eq!((one.len(), one["B"].0.len()), (1, 8));
        assert_ne!(one["B"], two["B"]);
        assert!(one["B"].0.iter().all(u8::is_ascii_alphanumeric));
    }

    #[test]
    fn the_secrets_of_every_container_are_known() {
        let env = |name: &str| json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": name, "key": "k"}}}]);
        let template = json!({"spec": {
            "initContainers": [{"env": env("one")}],
            "containers": [{"env": env("two"), "envFrom": [{"secretRef": {"name": "three"}}, {"configMapRef": {"name": "no"}}]}],
        }});
        let names = ["one", "two", "three"].map(String::from);
        assert_eq!(secrets_of(&template), BTreeSet::from(names));
    }
}

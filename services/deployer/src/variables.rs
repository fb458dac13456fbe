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

/// The shortest line of a file that is masked by itself: shorter ones say nothing.
const LINE: usize = 8;

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

    /// The values of the Secrets that a template's variables and files come from, which no log may
    /// show.
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
            values.extend(texts.flat_map(|text| shown_as(&text)));
        }

        // A longer one first: else what is left of it would show.
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        Ok(values)
    }
}

/// How a value may stand in a log: as a whole, or line by line.
fn shown_as(value: &str) -> Vec<String> {
    let lines = value
        .lines()
        .map(str::trim)
        .filter(|line| line.len() >= LINE);
    let mut all = vec![value.trim_end().to_owned()];
    if value.trim_end().contains('\n') {
        all.extend(lines.map(ToOwned::to_owned));
    }
    all
}

/// The names of Secrets that containers take variables or files from.
fn secrets_of(pod_template: &Value) -> BTreeSet<String> {
    let list = |of: &'_ Value, pointer: &str| -> Vec<Value> {
        let list = of.pointer(pointer).and_then(Value::as_array);
        list.cloned().unwrap_or_default()
    };
    let name = |of: &Value, pointer: &str| Some(of.pointer(pointer)?.as_str()?.to_owned());

    let mut names = BTreeSet::new();
    for containers in ["/spec/initContainers", "/spec/containers"] {
        for container in list(pod_template, containers) {
            let env = list(&container, "/env");
            names.extend(
                env.iter()
                    .filter_map(|env| name(env, "/valueFrom/secretKeyRef/name")),
            );
            let from = list(&container, "/envFrom");
            names.extend(from.iter().filter_map(|from| name(from, "/secretRef/name")));
        }
    }
    for volume in list(pod_template, "/spec/volumes") {
        names.extend(name(&volume, "/secret/secretName"));
        let sources = list(&volume, "/projected/sources");
        names.extend(
            sources
                .iter()
                .filter_map(|source| name(source, "/secret/name")),
        );
    }
    names
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
    fn a_file_is_masked_line_by_line_but_for_what_says_nothing() {
        let key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG\n}\n";
        assert_eq!(
            shown_as(key),
            [
                key.trim_end(),
                "-----BEGIN KEY-----",
                "MIIEvQIBADANBgkqhkiG"
            ]
        );
        assert_eq!(shown_as("hunter22\n"), ["hunter22"]);
    }

    #[test]
    fn the_secrets_of_every_container_are_known() {
        let env = |name: &str| json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": name, "key": "k"}}}]);
        let template = json!({"spec": {
            "initContainers": [{"env": env("one")}],
            "containers": [{"env": env("two"), "envFrom": [{"secretRef": {"name": "three"}}, {"configMapRef": {"name": "no"}}]}],
            "volumes": [
                {"name": "a", "secret": {"secretName": "four"}}, {"name": "b", "emptyDir": {}},
                {"name": "c", "projected": {"sources": [{"configMap": {"name": "no"}}, {"secret": {"name": "five"}}]}},
            ],
        }});
        let names = ["one", "two", "three", "four", "five"].map(String::from);
        assert_eq!(secrets_of(&template), BTreeSet::from(names));
    }
}

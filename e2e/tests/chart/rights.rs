//! The rights of every ServiceAccount, compared with `rights.yaml`, which is reviewed by people.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use lab::testing::layout;
use serde_yaml::Value;

use super::{at, objects, word};

/// One tenant and one grant beside the release namespace.
const VALUES: &str = "tenants: {namespaces: [team-a]}
secretGrants: [{namespace: default, names: [cloudflare-api-token]}]";

/// By ServiceAccount and place: lines of `group/resource[names]: verbs`.
type Rights = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

fn words(rule: &Value, field: &str) -> Vec<String> {
    let words = at(rule, &[field]).as_sequence().into_iter().flatten();
    words.filter_map(Value::as_str).map(Into::into).collect()
}

fn lines(role: &Value) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();

    for rule in at(role, &["rules"]).as_sequence().into_iter().flatten() {
        let names = words(rule, "resourceNames");
        let names = if names.is_empty() {
            String::new()
        } else {
            format!(" {}", names.join(","))
        };

        for group in words(rule, "apiGroups") {
            for resource in words(rule, "resources") {
                let group = if group.is_empty() {
                    String::new()
                } else {
                    format!("{group}/")
                };
                lines.insert(format!(
                    "{group}{resource}{names}: {}",
                    words(rule, "verbs").join(" ")
                ));
            }
        }
    }

    lines
}

fn rights(values: &str) -> Result<Rights> {
    let objects = objects(values)?;
    let mut rights = Rights::new();
    for binding in objects
        .iter()
        .filter(|object| word(object, &["kind"]).ends_with("RoleBinding"))
    {
        let namespace = word(binding, &["metadata", "namespace"]);
        let role = objects.iter().find(|object| {
            word(object, &["kind"]) == word(binding, &["roleRef", "kind"])
                && word(object, &["metadata", "name"]) == word(binding, &["roleRef", "name"])
                && word(object, &["metadata", "namespace"]) == namespace
        });
        let place = if namespace.is_empty() {
            "cluster"
        } else {
            namespace
        };
        for subject in at(binding, &["subjects"])
            .as_sequence()
            .into_iter()
            .flatten()
        {
            assert_eq!(word(subject, &["kind"]), "ServiceAccount");
            let account = format!(
                "{}/{}",
                word(subject, &["namespace"]),
                word(subject, &["name"])
            );
            let here = rights
                .entry(account)
                .or_default()
                .entry(place.into())
                .or_default();
            here.extend(role.map(lines).unwrap_or_default());
        }
    }
    Ok(rights)
}

#[test]
fn every_service_account_has_the_rights_that_people_have_agreed_to_and_no_more() -> Result<()> {
    let agreed = layout()?.repository.join("e2e/tests/chart/rights.yaml");
    let agreed: Rights = serde_yaml::from_str(&std::fs::read_to_string(agreed)?)?;
    let rendered = rights(VALUES)?;
    assert!(rendered == agreed, "{}", serde_yaml::to_string(&rendered)?);
    Ok(())
}

#[test]
fn with_all_namespaces_as_tenants_secrets_are_read_everywhere_and_never_listed() -> Result<()> {
    for (account, places) in rights("tenants: {namespaces: ['*']}")? {
        let secrets = places
            .get("cluster")
            .into_iter()
            .flatten()
            .find(|line| line.starts_with("secrets:") || line.starts_with("configmaps:"));
        assert_eq!(
            secrets.is_none(),
            account.ends_with("/watcher"),
            "{account}"
        );
        let listed = places
            .iter()
            .filter(|(place, _)| *place != "sequencer-tunnels")
            .flat_map(|(_, lines)| lines);
        let listed = listed
            .filter(|line| line.starts_with("secrets:") && line.contains(" list"))
            .count();
        assert_eq!(listed, 0, "{account}");
    }
    Ok(())
}

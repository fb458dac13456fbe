//! One trace tells how a preview came to be, from `kubectl apply` to the URL.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use lab::cluster::Cluster;
use lab::parts::traces;
use lab::release::{SERVICES, TENANTS};
use lab::testing::PATIENCE;
use lab::until::until;
use serde_json::Value;

use crate::user::{User, unique};

/// A span as OTLP/JSON has it, with the service that sent it.
#[derive(Clone, Debug)]
struct Span {
    service: String,
    parent: String,
    verb: Option<String>,
    start: u64,
    end: u64,
}

/// The spans of a trace by id.
fn spans(cluster: &Cluster, trace: &str) -> Result<BTreeMap<String, Span>> {
    let mut found = BTreeMap::new();

    for line in std::fs::read_to_string(traces::file(&cluster.layout))?
        .lines()
        .filter(|line| line.contains(trace))
    {
        // The last line may be half written.
        let Ok(document) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        for resource in list(&document["resourceSpans"]) {
            let service = attribute(&resource["resource"], "service.name").unwrap_or_default();
            let scopes = list(&resource["scopeSpans"]);
            for span in scopes
                .flat_map(|scope| list(&scope["spans"]))
                .filter(|span| span["traceId"] == trace)
            {
                let word = |field: &str| span[field].as_str().unwrap_or_default().to_owned();
                let (start, end) = (
                    word("startTimeUnixNano").parse()?,
                    word("endTimeUnixNano").parse()?,
                );
                let (parent, verb) = (word("parentSpanId"), attribute(span, "verb"));
                found.insert(
                    word("spanId"),
                    Span {
                        service: service.clone(),
                        parent,
                        verb,
                        start,
                        end,
                    },
                );
            }
        }
    }

    Ok(found)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn attribute(of: &Value, key: &str) -> Option<String> {
    let found = list(&of["attributes"]).find(|attribute| attribute["key"] == key)?;
    found["value"]["stringValue"]
        .as_str()
        .map(ToOwned::to_owned)
}

#[test]
fn one_trace_spans_from_apply_to_the_url_over_all_services() -> Result<()> {
    let user = User::of(TENANTS[0])?;
    let name = &unique("trace");
    user.push(name, "note", name)?;
    user.apply_with_tunnel(name)?;
    user.wait_ready(name)?;
    let (uid, _) = user.marks(name)?;
    let trace = uid.replace('-', "");
    // Spans are sent in batches, and each service sends its own.
    let (root, all) = until("the trace is whole", PATIENCE, || {
        let all = spans(&user.cluster, &trace)?;
        let mut roots = all.values().filter(|span| span.parent.is_empty());
        let root = roots.next().cloned().context("there is none")?;
        ensure!(roots.next().is_none(), "there are two roots");
        ensure!(
            all.values()
                .any(|span| span.service == "network" && span.verb.as_deref() == Some("probe")),
            "no probe"
        );
        let known = |span: &Span| span.parent.is_empty() || all.contains_key(&span.parent);
        let orphans: Vec<_> = all.values().filter(|span| !known(span)).collect();
        ensure!(
            orphans.is_empty(),
            "the parents of these are elsewhere: {orphans:#?}"
        );
        Ok((root, all))
    })?;
    let created: jiff::Timestamp = user
        .field(&format!("workspace/{name}"), ".metadata.creationTimestamp")?
        .parse()?;
    assert_eq!(i128::from(root.start), created.as_nanosecond());
    let services: BTreeSet<_> = all.values().map(|span| span.service.as_str()).collect();
    assert_eq!(services, BTreeSet::from(SERVICES));
    let handled = || all.values().filter(|span| span.service != "watcher");
    let verbs: BTreeSet<_> = handled().filter_map(|span| span.verb.as_deref()).collect();
    assert_eq!(
        verbs,
        BTreeSet::from([
            "resolve", "build", "push", "tunnel", "dns", "probe", "deploy"
        ])
    );
    let probed = handled()
        .filter(|span| span.verb.as_deref() == Some("probe"))
        .map(|span| span.start)
        .min();
    ensure!(
        probed.is_some_and(|probed| root.start < probed && probed < root.end),
        "{root:?} {probed:?}"
    );
    user.delete(name)
}

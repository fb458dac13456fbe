//! The OTLP receiver.

use anyhow::{Context as _, Result};
use lab::cluster::Cluster;
use lab::parts::traces;
use lab::testing::{PATIENCE, layout};
use lab::until::until;
use serde_json::json;

#[test]
fn a_span_that_is_sent_can_be_read() -> Result<()> {
    let cluster = Cluster::new(layout()?);
    let trace = format!("{:032x}", rand::random::<u128>() | 1);
    let span = json!({
        "traceId": trace, "spanId": "0102030405060708", "name": "a span", "kind": 1,
        "startTimeUnixNano": "1", "endTimeUnixNano": "2",
    });
    let body = json!({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}).to_string();
    let url = "http://otlp.test:4318/v1/traces";

    cluster.general.run(&[
        "curl",
        "-s",
        "--fail",
        "-H",
        "Content-Type: application/json",
        "-d",
        &body,
        url,
    ])?;

    until("the span is in the file", PATIENCE, || {
        let lines = std::fs::read_to_string(traces::file(&cluster.layout))?;
        lines
            .lines()
            .find(|line| line.contains(&trace))
            .map(drop)
            .context("it is not there")
    })
}

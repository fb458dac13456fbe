//! An OpenTelemetry collector that writes the traces it receives to a file.

use std::path::PathBuf;

use anyhow::Result;
use minijinja::context;

use crate::layout::{Layout, TRACES, at, text};
use crate::part::{Part, Ready};

pub const NAME: &str = "traces";

/// Where the traces are: a line of OTLP/JSON per export request.
#[must_use]
pub fn file(layout: &Layout) -> PathBuf {
    layout.data("traces.jsonl")
}

/// The part; OTLP over gRPC on port 4317, over HTTP on 4318.
///
/// # Errors
/// Its configuration cannot be written.
pub fn part(layout: &Layout) -> Result<Part> {
    let values = context! { address => TRACES.to_string(), file => text(file(layout)) };
    let config = layout.configure("otelcol.yaml", "otelcol.yaml", values)?;
    let args = ["--config".into(), format!("file:{}", text(&config))];

    Part::new(
        NAME,
        layout.bin("otelcol"),
        args,
        Ready::Tcp(at(TRACES, 4317)),
    )
    .reads([config])
}

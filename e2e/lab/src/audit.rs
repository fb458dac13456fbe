//! What the API server was asked to write, by its audit log.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::layout::{Layout, text};

/// How often what was written, answered with success or not: `create secrets`, `patch
/// components/status`. `counts` is asked of each entry.
///
/// # Errors
/// There is no log.
pub fn writes(layout: &Layout, counts: impl Fn(&Value) -> bool) -> Result<BTreeMap<String, usize>> {
    let file = layout.logs().join("audit.log");
    let log =
        std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", text(&file)))?;
    let mut count = BTreeMap::new();
    for line in log.lines() {
        // The last line may be half written.
        let Ok(entry) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        let word = |path: &str| entry.pointer(path).and_then(Value::as_str);
        let Some(verb @ ("create" | "update" | "patch" | "delete")) = word("/verb") else {
            continue;
        };
        if word("/stage") == Some("ResponseComplete") && counts(&entry) {
            let part = word("/objectRef/subresource")
                .map(|part| format!("/{part}"))
                .unwrap_or_default();
            *count
                .entry(format!(
                    "{verb} {}{part}",
                    word("/objectRef/resource").unwrap_or_default()
                ))
                .or_default() += 1;
        }
    }
    Ok(count)
}

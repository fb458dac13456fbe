//! Tunnels at Cloudflare's stand-in.

mod access;
mod connector;
mod creation;
mod deletion;

use anyhow::Result;
use sequencer_proto::v1::Trigger;
use sequencer_runtime::bus::Outcome;
use serde_json::json;

use crate::harness::Harness;
use crate::preview::Preview;

/// A tunnel whose creation was not answered.
async fn unanswered(harness: &Harness) -> Result<Preview<'_>> {
    let preview = Preview::new(harness).await?;
    harness
        .faults(json!([{"method": "POST", "path": "/accounts/*/cfd_tunnel", "times": 1, "lost_response": true}]))
        .await?;
    assert_eq!(preview.handle(Trigger::Change).await, Outcome::Recorded);
    Ok(preview)
}

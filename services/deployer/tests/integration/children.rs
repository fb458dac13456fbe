//! What was made: made once, made again, waited for, and never somebody else's.

mod edits;
mod kept;
mod waits;

use sequencer_api::status::State;
use serde_json::{Value, json};

fn healthy(section: &Value) -> bool {
    section["state"] == json!(State::Healthy)
}

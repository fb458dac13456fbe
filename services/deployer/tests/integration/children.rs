//! What was made: made once, made again, waited for, and never somebody else's.

mod edits;
mod kept;
mod rolled;
mod waits;

use sequencer_api::status::State;
use serde_json::{Value, json};

fn healthy(section: &Value) -> bool {
    section["state"] == json!(State::Healthy)
}

fn waiting(section: &Value) -> bool {
    section["state"] == json!(State::Waiting)
}

fn failed(section: &Value) -> bool {
    section["state"] == json!(State::Error)
}

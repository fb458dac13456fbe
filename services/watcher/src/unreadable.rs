//! Objects that the API server has and this version cannot read: they say so themselves, and hold
//! up nobody else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Patch, PatchParams};
use kube::core::error_boundary::InvalidObject;
use kube::{Client, ResourceExt as _};
use sequencer_api::code::Code;
use sequencer_api::condition::{ConditionType, Summary, find};
use sequencer_api::stored::Stored as _;
use sequencer_proto::topics::Kind;
use sequencer_runtime::patch::{self, Operation, add, test};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::apply::{api, resource};
use crate::conditions::Conditions;
use crate::error::Error;
use crate::events::Recorder;
use crate::plan::{Event, Target};

/// The most characters of a reader's words.
const WORDS: usize = 300;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Unreadable {
    pub target: Target,
    /// Why it cannot be read.
    pub why: String,
}

impl Unreadable {
    /// As the watch returned it.
    #[must_use]
    pub fn new(kind: Kind, object: InvalidObject) -> Self {
        let metadata = object.metadata;
        let target = Target {
            kind,
            namespace: metadata.namespace.unwrap_or_default(),
            name: metadata.name.unwrap_or_default(),
            uid: metadata.uid.unwrap_or_default(),
        };

        Self {
            target,
            why: object.error.chars().take(WORDS).collect(),
        }
    }
}

/// Those that were not answered since they were listed last. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Unreadables {
    found: Arc<Mutex<HashMap<String, Unreadable>>>,
    more: Arc<Notify>,
}

impl Unreadables {
    /// One was listed or changed.
    pub fn add(&self, found: Unreadable) {
        self.found
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(found.target.uid.clone(), found);
        self.more.notify_one();
    }

    pub async fn some(&self) -> Vec<Unreadable> {
        loop {
            let found =
                std::mem::take(&mut *self.found.lock().unwrap_or_else(PoisonError::into_inner));
            if !found.is_empty() {
                return found.into_values().collect();
            }
            self.more.notified().await;
        }
    }
}

/// Writes on an object that it cannot be read, unless it says so already.
///
/// # Errors
/// The API server did not answer, or refused.
pub async fn answer(client: &Client, events: &Recorder, found: &Unreadable) -> Result<(), Error> {
    let Target {
        kind,
        namespace,
        name,
        uid,
    } = &found.target;
    let api = api(client, *kind, namespace);
    let object = api
        .get_opt(name)
        .await
        .map_err(|error| Error::Read(name.clone(), error))?;
    let Some(object) = object.filter(|object| object.uid().as_ref() == Some(uid)) else {
        return Ok(());
    };

    let generation = object.generation();
    let status = object.data.get("status");
    let Some(operations) = operations(status, found, generation, Timestamp::now()) else {
        return Ok(());
    };

    let read = [
        test(&["metadata", "uid"], uid.as_str()),
        test(&["metadata", "resourceVersion"], object.resource_version()),
    ];
    let operations = read.into_iter().chain(operations).collect();
    let patch = Patch::<()>::Json(patch::Patch(operations));
    let patched = api
        .patch_status(name, &PatchParams::default(), &patch)
        .await;
    let failed = |source| Error::Write {
        verb: "change",
        kind: resource(*kind).kind,
        name: name.clone(),
        source,
    };

    patched.map_err(failed)?;
    let event = Event::wrong(&found.target, Code::ObjectUnreadable, ready(found).text());
    events.publish(&event).await;
    Ok(())
}

fn ready(found: &Unreadable) -> Summary {
    let message = format!("this version cannot read it: {}", found.why);
    Summary::failed(Code::ObjectUnreadable, message)
}

/// What to write; nothing if it stands there.
fn operations(
    status: Option<&Value>,
    found: &Unreadable,
    generation: i64,
    now: Timestamp,
) -> Option<Vec<Operation>> {
    let field = |name: &str| status.and_then(|status| status.get(name));
    let before: Vec<Condition> = field("conditions")
        .and_then(|list| serde_json::from_value(list.clone()).ok())
        .unwrap_or_default();
    let ready = ready(found);
    let remedy = Code::ObjectUnreadable.remedy();
    let conditions = Conditions::new(&before, generation, now).finish(&ready, None, false, remedy);
    if find(&before, ConditionType::Ready) == find(&conditions, ConditionType::Ready) {
        return None;
    }
    let fields = [
        (
            "rev",
            json!(field("rev").and_then(Value::as_i64).unwrap_or_default() + 1),
        ),
        ("observedGeneration", json!(generation)),
        ("phase", json!("Error")),
        ("conditions", json!(conditions)),
    ];
    let whole = status.filter(|status| status.is_object()).is_none();
    let whole = whole.then(|| add(&["status"], json!({})));
    let fields = fields.map(|(name, value)| add(&["status", name], value));

    Some(whole.into_iter().chain(fields).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_says_so_already_is_not_written_again() {
        let target = Target {
            kind: Kind::Build,
            namespace: "n".into(),
            name: "b".into(),
            uid: "u".into(),
        };

        let found = Unreadable {
            target,
            why: "no field".into(),
        };

        let now = Timestamp::UNIX_EPOCH;
        let first = operations(None, &found, 1, now).unwrap();
        let mut written = json!({"status": {}});
        json_patch::patch(&mut written, &first).unwrap();
        assert_eq!(operations(written.get("status"), &found, 1, now), None);
        assert!(operations(written.get("status"), &found, 2, now).is_some());

        let other = Unreadable {
            why: "another field".into(),
            ..found
        };

        assert!(operations(written.get("status"), &other, 1, now).is_some());
    }
}

//! What the services record. A section has exactly one writing service; the conditions are the
//! watcher's, derived from the sections. The schema gives every section its default, so that
//! nothing is written only to say that nothing happened.

pub mod build;
pub mod component;
pub mod dns_record;
pub mod workspace;

use std::collections::BTreeMap;
use std::fmt::Debug;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{KubeSchema, Resource};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::code::Code;

/// The most characters of a failure's message.
const MESSAGE: usize = 1024;

/// One section of the status of a kind: what its one writing service records, `.status.<NAME>`.
pub trait StatusSection: Clone + Debug + Default + PartialEq + Serialize + Send + Sync {
    /// The kind whose status has the section.
    type Object: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static;

    /// Its field in the status.
    const NAME: &'static str;

    /// The section as the object has it.
    fn of(object: &Self::Object) -> Self;

    /// What it shares with every other section.
    fn common(&self) -> &Section;

    /// What it shares with every other section, to be changed.
    fn common_mut(&mut self) -> &mut Section;
}

/// Says that a struct with a field `section` is the section `$field` of the kind `$kind`.
macro_rules! status_section {
    ($section:ty, $kind:ty, $field:ident) => {
        impl $crate::status::StatusSection for $section {
            type Object = $kind;

            const NAME: &'static str = stringify!($field);

            fn of(object: &$kind) -> Self {
                object
                    .status
                    .as_ref()
                    .map(|status| status.$field.clone())
                    .unwrap_or_default()
            }

            fn common(&self) -> &$crate::status::Section {
                &self.section
            }

            fn common_mut(&mut self) -> &mut $crate::status::Section {
                &mut self.section
            }
        }
    };
}
pub(crate) use status_section;
/// What every section begins with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Section {
    /// Counts the writes of this section: each write tests it, so that none is lost.
    #[serde(default)]
    pub rev: i64,
    /// How far the work has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
    /// The generation that it was recorded for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Who works on it now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
    /// What failed last, and when it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// What people last asked to be tried again by `se.quencer.io/retry`, as a hash.
    #[schemars(length(max = 10))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<String>,
}

impl Section {
    /// Whether it has this state, and has it for this generation of its object.
    #[must_use]
    pub fn is(&self, state: State, generation: i64) -> bool {
        self.state == Some(state) && self.observed_generation == Some(generation)
    }

    /// Returns the section once work at it came to an end, in this state: nobody works at it any
    /// more, and nothing of an earlier failure is left.
    #[must_use]
    pub fn ended(&self, state: State, generation: i64, retry: Option<Retry>) -> Self {
        Self {
            rev: self.rev,
            state: Some(state),
            observed_generation: Some(generation),
            claim: None,
            retry,
            asked: self.asked.clone(),
        }
    }
}

/// Where a section stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum State {
    /// Not observed yet.
    Pending,
    /// Held back by something that it names.
    Waiting,
    /// Under way.
    InProgress,
    /// Done.
    Completed,
    /// Running.
    Healthy,
    /// Failed.
    Error,
    /// What was made is being taken away.
    Deleting,
    /// Nothing of it is left.
    Gone,
    /// An administrator gave it up: what could not be taken away is left behind.
    Abandoned,
}

/// The right to work on a section for some time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Claim {
    /// Who works at it: `<pod>/<process nonce>`.
    #[schemars(length(max = 320))]
    pub holder: String,
    /// Until when, unless it is renewed.
    pub until: Time,
    /// Claims in a row that ended without a record.
    #[serde(default)]
    pub attempts: i32,
}

/// A failure that is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// How often it failed in a row.
    pub attempts: i32,
    /// Since when it has failed with this code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// When it is tried again. Absent: once somebody changes something, or asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Time>,
    /// The error's code, `E#nnnn`.
    pub code: Code,
    /// What happened and what to do.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// The Secrets that may be the cause, with their versions: a change is tried at once.
    #[schemars(extend("maxProperties" = 16))]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secret_versions: BTreeMap<String, String>,
}

/// What failed, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The error's code, `E#nnnn`.
    pub code: Code,
    /// The reason that belongs to the code, as conditions have it.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when it has been so, of what is not tried again but looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// The container that failed.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The step of the build that failed.
    #[schemars(length(max = 256))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The line of the Dockerfile that failed, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<i32>,
    /// The process's exit code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// What happened and what to do.
    #[schemars(length(max = 1024))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The last lines of the log, with known secret values masked.
    #[schemars(length(max = 20), inner(length(max = 200)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_tail: Vec<String>,
}

impl Failure {
    /// Returns a failure of which no more is known.
    #[must_use]
    pub fn new(code: Code, message: &str) -> Self {
        Self {
            code,
            reason: Some(code.reason().into()),
            since: None,
            container: None,
            step: None,
            line: None,
            exit_code: None,
            message: Some(message.chars().take(MESSAGE).collect()),
            log_tail: Vec::new(),
        }
    }
}

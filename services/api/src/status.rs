//! What the services record. A section has exactly one writing service; the conditions are the watcher's, derived from the
//! sections. The schema gives every section its default, so that nothing is written only to say that nothing happened.

pub mod build;
pub mod component;
pub mod dns_record;
pub mod workspace;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What every section begins with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Section {
    /// Counts the writes of this section: each write tests it, so that none is lost.
    #[serde(default)]
    pub rev: i64,
    /// Where it stands.
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
}

/// Where a section stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum State {
    /// Not looked at yet.
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
    /// Going.
    Deleting,
    /// Gone.
    Gone,
}

/// The right to work on a section for some time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Claim {
    /// `<pod>/<process nonce>`.
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
    /// When it is tried again.
    pub next_attempt_at: Time,
    /// The error's code, `E#nnnn`.
    #[schemars(length(max = 8))]
    pub code: String,
    /// What happened and what to do.
    #[schemars(length(max = 1024))]
    pub message: String,
    /// The Secrets that may be the cause, with their versions: a change is tried at once.
    #[schemars(extend("maxProperties" = 16))]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secret_versions: BTreeMap<String, String>,
}

/// What failed, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// The error's code, `E#nnnn`.
    #[schemars(length(max = 8))]
    pub code: String,
    /// A word for it, as Kubernetes or a provider says it.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The container.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The build's step.
    #[schemars(length(max = 256))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// The Dockerfile's line.
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

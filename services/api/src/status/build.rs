//! What the services record of a Build.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::component::SourceImport;
use super::{Failure, Section, State, status_section};

/// `Build.status`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BuildStatus {
    /// Counts the watcher's writes.
    #[serde(default)]
    pub rev: i64,
    /// The generation that the conditions speak of.
    #[serde(default)]
    pub observed_generation: i64,
    /// One word for people; no program reads it.
    #[serde(default)]
    pub phase: BuildPhase,
    /// The conditions.
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// The image in the staging registry, by the builder.
    #[serde(default)]
    pub image: ImageSection,
    /// The published image, by the registry-pusher.
    #[serde(default)]
    pub publish: PublishSection,
}

/// One word for a Build.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum BuildPhase {
    /// Waiting for a builder.
    #[default]
    Queued,
    /// Building.
    Building,
    /// Publishing.
    Publishing,
    /// Published.
    Completed,
    /// Failed.
    Error,
    /// A newer commit took its place.
    Superseded,
    /// Being deleted.
    Terminating,
}

/// `Build.status.image`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImageSection {
    /// What every section begins with.
    #[serde(flatten)]
    pub section: Section,
    /// The pool whose builder took it.
    #[schemars(length(max = 40))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// How many Builds are before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_position: Option<i32>,
    /// The pod of the builder that took it.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub builder: Option<String>,
    /// The commits that it was built from.
    #[schemars(length(max = 8))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceImport>,
    /// The content key: the same inputs give the same.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The Build whose image was taken.
    #[schemars(length(max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reused_from: Option<String>,
    /// The image's digest.
    #[schemars(length(max = 80))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The manifest's media type.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// Bytes of all layers, as stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<i64>,
    /// The platforms that it was built for.
    #[schemars(length(max = 4), inner(length(max = 64)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<String>,
    /// Where it is staged.
    #[schemars(length(max = 256))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub staging: Option<String>,
    /// What is under way while it is built, as BuildKit names it: `[builder 4/6] RUN npm ci`.
    #[schemars(length(max = 256))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// `<steps that came from a cache>/<all steps>`.
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_steps: Option<String>,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,
    /// The subject of its live log.
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// `Build.status.publish`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
pub struct PublishSection {
    /// What every section begins with.
    #[serde(flatten)]
    pub section: Section,
    /// The image by digest in the first registry.
    #[schemars(length(max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// How far it is with each registry of the spec.
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["url".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub registries: Vec<PublishedTo>,
    /// Tags that were begun and not yet seen gone.
    #[schemars(length(max = 72))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub intents: Vec<TagIntent>,
}

/// A registry and what it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PublishedTo {
    /// As the spec names it.
    #[schemars(length(max = 255))]
    pub url: String,
    /// The repository with its host.
    #[schemars(length(max = 512))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// How far it is.
    pub state: State,
    /// The tags that point to the digest.
    #[schemars(length(max = 9), inner(length(max = 128)))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The digest, as the registry answers it.
    #[schemars(length(max = 80))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Bytes that were sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
    /// When it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Time>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// A tag, written down before it is pushed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct TagIntent {
    /// The repository.
    #[schemars(length(max = 512))]
    pub repository: String,
    /// The tag.
    #[schemars(length(max = 128))]
    pub tag: String,
    /// The digest.
    #[schemars(length(max = 80))]
    pub digest: String,
}

status_section!(ImageSection, crate::Build, image);
status_section!(PublishSection, crate::Build, publish);

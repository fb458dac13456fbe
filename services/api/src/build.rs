//! `Build`: one image from one commit.

mod progress;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::pattern::DURATION;
use crate::secret::{Credentials, SecretRef};
use crate::status::build::BuildStatus;

/// What one image is made from and where it is published. It never changes: other inputs are
/// another Build.
#[derive(CustomResource, Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "se.quencer.io",
    version = "v1alpha1",
    kind = "Build",
    plural = "builds",
    shortname = "bld",
    category = "sequencer",
    namespaced,
    status = "BuildStatus",
    doc = "One image, built from one commit and published to its registries.",
    selectable = ".status.image.key",
    printcolumn(name = "Build", type_ = "string", json_path = ".spec.name"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].status"
    ),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Commit",
        type_ = "string",
        json_path = ".spec.importContent[0].contentFrom.git.commit"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(
        name = "Pool",
        type_ = "string",
        json_path = ".status.image.pool",
        priority = 1
    ),
    printcolumn(
        name = "Cached",
        type_ = "string",
        json_path = ".status.image.cachedSteps",
        priority = 1
    ),
    printcolumn(
        name = "Image",
        type_ = "string",
        json_path = ".status.publish.image",
        priority = 1
    ),
    printcolumn(
        name = "Workspace",
        type_ = "string",
        json_path = ".metadata.labels['se\\.quencer\\.io/workspace']",
        priority = 1
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type=='Ready')].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct BuildSpec {
    /// The name in `${build::NAME}`.
    #[schemars(
        length(min = 1, max = 20),
        regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub name: String,
    /// The folder that the Dockerfile may copy from, relative to the imported content.
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = Rule::new(PATH_RULE).message("E#6030 a relative path inside the imported content, without '..'"))]
    #[serde(default = "here")]
    pub context: String,
    /// The Dockerfile, relative to the context.
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = Rule::new(PATH_RULE).message("E#6030 a relative path inside the context, without '..'"))]
    #[serde(default = "dockerfile")]
    pub dockerfile: String,
    /// The stage to build; the last if absent.
    #[schemars(
        length(min = 1, max = 128),
        regex(pattern = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Build arguments. They are public: they stay in the image's history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<BuildArgs>,
    /// Secrets that a step mounts with `RUN --mount=type=secret`; they never reach the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secrets: Option<BuildSecrets>,
    /// `os/arch[/variant]`; the pool's own if empty, an index if several.
    #[schemars(
        length(max = 4),
        inner(
            length(max = 64),
            regex(pattern = r"^[a-z0-9]+/[a-z0-9]+(/[a-z0-9]+)?$")
        )
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<String>,
    /// What is attached to the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestations: Option<Attestations>,
    /// How layers are compressed.
    #[serde(default)]
    pub compression: Compression,
    /// Where the image is published. Pods pull from the first.
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["url".into()]))]
    pub container_registries: Vec<ContainerRegistry>,
    /// The repositories that make up the build context, each in its folder.
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(
        validation = Rule::new("self.all(a, self.exists_one(b, a.path == b.path || a.path.startsWith(b.path + '/')))")
            .message("E#6032 path: two imports must not overlap; give each a folder of its own"),
        validation = Rule::new("self.size() == 1 || self.all(a, a.path != '.')")
            .message("E#6032 path: '.' holds every other import; give each a folder of its own")
    )]
    pub import_content: Vec<ImportContent>,
    /// Where and how long it is built.
    #[serde(default)]
    pub runtime: Runtime,
}

/// A relative path that stays where it is: no `..`, no root, no drive, nothing that a program takes
/// for an option.
const PATH_RULE: &str = r"self.matches('^[^-~/\\\\:\\x00-\\x1f][^\\\\:\\x00-\\x1f]*$') && self.split('/').all(part, part != '..')";

fn here() -> String {
    ".".into()
}

fn dockerfile() -> String {
    "Dockerfile".into()
}

/// Arguments of a build.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.valuesFrom) || !has(self.valuesFrom.secretRef)")
    .message("E#6043 args.valuesFrom.secretRef: an argument stays in the image; mount the Secret with spec.secrets"))]
pub struct BuildArgs {
    /// Arguments with their values.
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<BuildArg>,
    /// A ConfigMap with more of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values_from: Option<ValuesFrom>,
    /// Which keys, and as which arguments; all under their own names if absent.
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["key".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<KeyToPath>,
}

/// A build argument: a value, or a key of a Secret or ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct BuildArg {
    /// The name that the Dockerfile declares with ARG.
    #[schemars(
        length(min = 1, max = 128),
        regex(pattern = r"^[A-Za-z_][A-Za-z0-9_.-]*$")
    )]
    #[x_kube(validation = Rule::new("!self.startsWith('BUILDKIT_') && !self.lowerAscii().endsWith('_proxy')")
        .message("E#6043 name: BUILDKIT_* and *_proxy are reserved; choose another name"))]
    pub name: String,
    /// Its value; may hold `${workspace::...}` and `${ingress::...}`.
    #[schemars(length(max = 4096))]
    #[serde(default)]
    pub value: String,
}

/// Secrets of a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BuildSecrets {
    /// Where they come from.
    pub values_from: ValuesFrom,
    /// Which keys, and under which ids; all under their own names if absent.
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["key".into()]))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<KeyToPath>,
}

/// A ConfigMap or a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.configMapRef) != has(self.secretRef)")
    .message("E#1002 valuesFrom: exactly one of configMapRef and secretRef"))]
pub struct ValuesFrom {
    /// A ConfigMap of this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_ref: Option<LocalRef>,
    /// A Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
}

/// An object of this namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct LocalRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// A key under another name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct KeyToPath {
    /// The key.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
    /// The argument's name or the secret's id; the key if absent.
    #[schemars(
        length(min = 1, max = 128),
        regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// What is attached to an image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
pub struct Attestations {
    /// A list of what the image holds.
    #[serde(default)]
    pub sbom: bool,
    /// How the image was made, without the values of arguments.
    #[serde(default)]
    pub provenance: bool,
}

/// How layers are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Compression {
    /// gzip, which every client reads.
    #[default]
    Gzip,
    /// zstd.
    Zstd,
}

/// A repository that gets the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContainerRegistry {
    /// `host[:port]/path`; without a host it is on Docker Hub.
    #[schemars(length(min = 1, max = 255))]
    #[x_kube(validation = Rule::new(REPOSITORY_RULE)
        .message("E#6040 url: [host[:port]/]path in lower case, without scheme, login, tag and digest"))]
    pub url: String,
    /// The tags that it gets.
    #[schemars(
        length(min = 1, max = 8),
        inner(
            length(max = 128),
            regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")
        )
    )]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub tags: Vec<String>,
    /// The login; without one the chart's entry for the host is used, else none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// What becomes of the tags when the Build goes; the chart's default if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// Make the repository if there is none (Amazon's registry).
    #[serde(default)]
    pub create_repository: bool,
}

/// Distribution's reference grammar, the host in front known by a dot, a port or `localhost`.
const REPOSITORY_RULE: &str = "self.matches('^([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?/)?[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$')";

/// What becomes of pushed tags when their Build goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// Tags stay in the registry.
    Retain,
    /// Those that still point to our digest go.
    Delete,
}

/// Content that a build starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImportContent {
    /// The folder it is put into.
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(validation = Rule::new(PATH_RULE).message("E#6030 path: a relative path without '..'"))]
    #[serde(default = "here")]
    pub path: String,
    /// The login; without one the chart's entry for the host is used, else none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Credentials>,
    /// Where it comes from.
    pub content_from: ContentFrom,
}

/// Where content comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.git)").message("E#1003 contentFrom: exactly one source; git is the only one yet"))]
pub struct ContentFrom {
    /// A commit of a git repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<Git>,
}

/// A commit of a git repository. The rules on the URL stand here and not on the field, so that a
/// refusal never repeats a URL that has a password in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.url.matches('^(https://|ssh://|[^/:]+@[^/:]*:)')")
        .message("E#6033 url: https://, ssh:// or user@host:path").field_path(".url"),
    validation = Rule::new("!self.url.matches('^(ssh://)?-') && !self.url.matches('[/@:]-')")
        .message("E#6034 url: user, host and path must not begin with '-'").field_path(".url"),
    validation = Rule::new("!self.url.matches('^https://[^/]*@') && !self.url.matches('^ssh://[^/@]*:[^/@]*@')")
        .message("E#6036 url: no login in a URL; put it into a Secret and name that in credentials").field_path(".url"),
    validation = Rule::new("self.url.matches('^[!-~]+$') && !self.url.contains('%') && !self.url.matches('^[a-z]+:///') && !self.url.matches('^[a-z]+://[^/]*:0*(/|$)')")
        .message("E#6038 url: malformed; printable ASCII with a host, and a port from 1 if any").field_path(".url")
)]
pub struct Git {
    /// `https://`, `ssh://` or `user@host:path`.
    #[schemars(length(min = 1, max = 512))]
    pub url: String,
    /// A branch, a tag, `refs/...` or a commit; the remote's HEAD if absent.
    #[schemars(length(min = 1, max = 250))]
    #[x_kube(validation = Rule::new(REF_RULE).message("E#6035 ref: not the name of a branch or tag, nor a commit (git check-ref-format)"))]
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Exactly this commit; the ref only helps to fetch it.
    #[schemars(regex(pattern = r"^([0-9a-f]{40}|[0-9a-f]{64})$"), length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// How many commits of history are fetched.
    #[schemars(range(min = 1, max = 1000))]
    #[serde(default = "one")]
    pub depth: i32,
    /// Fetch submodules too, over https and ssh only.
    #[serde(default)]
    pub submodules: bool,
    /// Fetch large files too.
    #[serde(default)]
    pub lfs: bool,
}

impl BuildSpec {
    /// Returns the commit that stands for it, which is its first import's, if it names one.
    #[must_use]
    pub fn commit(&self) -> Option<&str> {
        let import = self.import_content.first()?;
        import.content_from.git.as_ref()?.commit.as_deref()
    }
}

/// As git-check-ref-format(1) has it.
const REF_RULE: &str = r"self.matches('^[^-/.\\x00-\\x20~^:?*\\[\\\\\\x7f][^\\x00-\\x20~^:?*\\[\\\\\\x7f]*$') && !self.contains('..') && !self.contains('@{') && !self.contains('//') && !self.contains('/.') && !self.endsWith('/') && !self.endsWith('.') && !self.endsWith('.lock')";

fn one() -> i32 {
    1
}

/// Where and how long a build runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Runtime {
    /// The pool of builders.
    #[schemars(
        length(min = 1, max = 40),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    #[serde(default = "default_pool")]
    pub pool: String,
    /// How long a build may take: a duration like `30m`.
    #[schemars(length(max = 32), regex(pattern = DURATION))]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1m')").message("E#1018 timeout: at least 1m"))]
    #[serde(default = "half_an_hour")]
    pub timeout: String,
    /// Build every step again, and take no image that was built before.
    #[serde(default)]
    pub no_cache: bool,
}

impl Default for Runtime {
    fn default() -> Self {
        Self {
            pool: default_pool(),
            timeout: half_an_hour(),
            no_cache: false,
        }
    }
}

fn default_pool() -> String {
    "default".into()
}

fn half_an_hour() -> String {
    "30m".into()
}

//! Labels, annotations and finalizers: how what is made is found again, and what users say with annotations.

/// Who manages an object; every object that is made has it.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`].
pub const SEQUENCER: &str = "sequencer";
/// The component's name, where tools look for an application's.
pub const NAME: &str = "app.kubernetes.io/name";
/// The Workspace's name, where tools look for the whole.
pub const PART_OF: &str = "app.kubernetes.io/part-of";
/// The Component's name. Never the Workspace's own label: tools that track by it would claim what is ours.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// The Workspace's name.
pub const WORKSPACE: &str = "se.quencer.io/workspace";
/// The Workspace's namespace.
pub const WORKSPACE_NAMESPACE: &str = "se.quencer.io/workspace-namespace";
/// The Workspace's uid.
pub const WORKSPACE_UID: &str = "se.quencer.io/ws-uid";
/// The component's name in its Workspace.
pub const COMPONENT: &str = "se.quencer.io/component";
/// The network's name.
pub const NETWORK: &str = "se.quencer.io/network";
/// The build's name in its Workspace.
pub const BUILD: &str = "se.quencer.io/build";
/// The first twelve characters of a Build's commit.
pub const COMMIT: &str = "se.quencer.io/commit";

/// The label that Kubernetes puts on a namespace: its name.
pub const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Of what has an owner in another namespace: the owner's kind.
pub const OWNER_KIND: &str = "se.quencer.io/owner-kind";
/// The owner's namespace.
pub const OWNER_NAMESPACE: &str = "se.quencer.io/owner-namespace";
/// The owner's name.
pub const OWNER_NAME: &str = "se.quencer.io/owner-name";
/// The owner's uid.
pub const OWNER_UID: &str = "se.quencer.io/owner-uid";

/// On what is made: the hash of its plan. On pod templates: the hash of what was rendered.
pub const REVISION: &str = "se.quencer.io/revision";
/// On pull Secrets: the versions of the Secrets that they were made from.
pub const MADE_FROM: &str = "se.quencer.io/made-from";
/// On the pods of connectors: the tunnel whose token they read when they start.
pub const TUNNEL: &str = "se.quencer.io/tunnel";

/// On Components: the generation of the Workspace that they were projected from.
pub const WORKSPACE_GENERATION: &str = "se.quencer.io/workspace-generation";
/// On Builds that nobody needs before they are built: the Build of the newer commit.
pub const SUPERSEDED_BY: &str = "se.quencer.io/superseded-by";
/// By users: another value tries failed steps again now.
pub const RETRY: &str = "se.quencer.io/retry";
/// By users: a Workspace stays at least until this moment (RFC 3339).
pub const KEEP_UNTIL: &str = "se.quencer.io/keep-until";
/// By administrators: the uid of a Workspace whose effects outside may be left behind.
pub const ABANDON_EXTERNAL: &str = "se.quencer.io/abandon-external";

/// On Workspaces with effects outside their namespace.
pub const WORKSPACE_FINALIZER: &str = "se.quencer.io/workspace";
/// On DNSRecords.
pub const RECORD_FINALIZER: &str = "se.quencer.io/dns";

/// The first characters of a commit, as people see it.
#[must_use]
pub fn commit12(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

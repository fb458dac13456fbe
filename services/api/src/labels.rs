//! Labels, annotations and finalizers: how what is made is found again, and what users say with
//! annotations.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::names::{Owner, h10};

/// Who manages an object; every object that is made has it.
pub const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// The value of [`MANAGED_BY`].
pub const SEQUENCER: &str = "sequencer";
/// The component's name, where tools look for an application's.
pub const NAME: &str = "app.kubernetes.io/name";
/// The Workspace's name, where tools look for the whole.
pub const PART_OF: &str = "app.kubernetes.io/part-of";
/// The Component's name. Never the Workspace's own label: tools that track by it would claim what
/// is ours.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// The Workspace's name.
pub const WORKSPACE: &str = "se.quencer.io/workspace";
/// The Workspace's namespace.
pub const WORKSPACE_NAMESPACE: &str = "se.quencer.io/workspace-namespace";
/// The Workspace's uid.
pub const WORKSPACE_UID: &str = "se.quencer.io/ws-uid";
/// The component's name in its Workspace.
pub const COMPONENT: &str = "se.quencer.io/component";
/// On pods of a Component that was applied on its own: `true`. By it those of one namespace let
/// each other in.
pub const STANDALONE: &str = "se.quencer.io/standalone";
/// The network's name.
pub const NETWORK: &str = "se.quencer.io/network";
/// The build's name in its Workspace.
pub const BUILD: &str = "se.quencer.io/build";
/// The first twelve characters of a Build's commit.
pub const COMMIT: &str = "se.quencer.io/commit";

/// On pods of the chart alone: which of its parts they are. The chart's Services and policies
/// select by it, so it never stands on a pod that is made for a user.
pub const PART: &str = "se.quencer.io/part";

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

/// On what is made: the hash of its plan. On pod templates: the hash of what their user wrote, with
/// values in place of variables.
pub const REVISION: &str = "se.quencer.io/revision";
/// On pod templates: the hash of all of it, with what Sequencer and the chart's settings add.
pub const TEMPLATE: &str = "se.quencer.io/template";
/// On pull Secrets: by host, the Secret and its version that a login was made from.
pub const MADE_FROM: &str = "se.quencer.io/made-from";
/// On the pods of connectors: the tunnel whose token they read when they start.
pub const TUNNEL: &str = "se.quencer.io/tunnel";

/// On Components: the generation of the Workspace that they were projected from.
pub const WORKSPACE_GENERATION: &str = "se.quencer.io/workspace-generation";
/// On Builds that nobody needs before they are published: the Build that took their place.
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

/// Keys that begin so are ours: whoever writes a Workspace does not choose what stands under them.
pub const RESERVED: [&str; 2] = ["app.kubernetes.io/", "se.quencer.io/"];

/// The labels of everything that is made for a Workspace, or for a Component that was applied on
/// its own, in this namespace.
#[must_use]
pub fn made_for(owner: Owner<'_>, namespace: &str) -> BTreeMap<String, String> {
    map([
        (MANAGED_BY, SEQUENCER),
        (PART_OF, owner.name),
        (WORKSPACE, owner.name),
        (WORKSPACE_NAMESPACE, namespace),
        (WORKSPACE_UID, owner.uid),
    ])
}

/// Labels or annotations as objects have them.
pub fn map<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> BTreeMap<String, String> {
    let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    pairs.into_iter().map(owned).collect()
}

/// What people ask to be tried again by [`RETRY`], on an object or on what it belongs to: a hash
/// that changes with each of the annotations, or None if there is none.
#[must_use]
pub fn asked<'a>(objects: impl IntoIterator<Item = &'a ObjectMeta>) -> Option<String> {
    let word = |meta: &'a ObjectMeta| {
        let found = meta.annotations.as_ref().and_then(|found| found.get(RETRY));
        found.map_or("", String::as_str)
    };
    let words: Vec<_> = objects.into_iter().map(word).collect();
    let some = words.iter().any(|word| !word.is_empty());
    some.then(|| h10(&words))
}

/// Whether a key of a label or an annotation is not a user's to choose.
#[must_use]
pub fn is_reserved(key: &str) -> bool {
    RESERVED.iter().any(|prefix| key.starts_with(prefix))
}

/// The first characters of a commit, as people see it.
#[must_use]
pub fn commit12(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chart_selects_its_own_pods_by_a_reserved_label_that_nothing_else_has() {
        let helpers = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../charts/sequencer/templates/_helpers.tpl"
        );

        assert!(
            std::fs::read_to_string(helpers)
                .unwrap()
                .contains(&format!("\n{PART}: {{{{ .name }}}}\n"))
        );

        let written = [
            MANAGED_BY,
            NAME,
            PART_OF,
            INSTANCE,
            WORKSPACE,
            WORKSPACE_NAMESPACE,
            WORKSPACE_UID,
            COMPONENT,
        ];
        let more = [
            NETWORK,
            BUILD,
            COMMIT,
            OWNER_KIND,
            OWNER_NAMESPACE,
            OWNER_NAME,
            OWNER_UID,
        ];
        assert!(is_reserved(PART) && !written.contains(&PART) && !more.contains(&PART));
    }

    #[test]
    fn what_is_asked_changes_with_each_annotation_and_is_nothing_without_any() {
        let meta = |word: Option<&str>| ObjectMeta {
            annotations: word.map(|word| map([(RETRY, word)])),
            ..ObjectMeta::default()
        };
        let asked = |words: [Option<&str>; 2]| super::asked(&words.map(meta));

        assert_eq!(asked([None, None]), None);
        assert_eq!(asked([Some(""), None]), None);
        let distinct: std::collections::BTreeSet<_> = [
            [Some("1"), None],
            [None, Some("1")],
            [Some("1"), Some("1")],
            [Some("2"), None],
        ]
        .map(asked)
        .into();
        assert_eq!(distinct.len(), 4);
        assert_eq!(asked([Some("1"), None]), asked([Some("1"), Some("")]));
    }

    #[test]
    fn what_only_begins_like_a_reserved_key_is_not_reserved() {
        for key in [
            "app.kubernetes.io/name",
            "se.quencer.io/part",
            "se.quencer.io/anything",
        ] {
            assert!(is_reserved(key), "{key}");
        }
        for key in [
            "team",
            "se.quencer.io",
            "se.quencer.io.example/part",
            "x.se.quencer.io/part",
            "kubernetes.io/name",
        ] {
            assert!(!is_reserved(key), "{key}");
        }
    }
}

//! What BuildKit is asked to do, from typed values alone. Pure.

use std::collections::HashMap;

use bollard_buildkit_proto::moby::buildkit::v1::sourcepolicy::{
    MatchType, Policy, PolicyAction, Rule, Selector,
};
use bollard_buildkit_proto::moby::buildkit::v1::{
    CacheOptions, CacheOptionsEntry, Exporter, SolveRequest,
};
use serde_json::json;

use super::{Compression, Job};

/// The Dockerfile frontend that is built into BuildKit.
const FRONTEND: &str = "dockerfile.v0";

type Attrs = HashMap<String, String>;

/// The request for a job under these ids.
pub(super) fn request(job: &Job, reference: &str, session: &str) -> SolveRequest {
    let imports = if job.no_cache {
        &[][..]
    } else {
        &job.cache_imports
    };

    let cache = CacheOptions {
        exports: job
            .cache_export
            .iter()
            .map(|to| entry(job, to, &EXPORT))
            .collect(),
        imports: imports.iter().map(|from| entry(job, from, &[])).collect(),
        ..CacheOptions::default()
    };

    SolveRequest {
        r#ref: reference.into(),
        session: session.into(),
        frontend: FRONTEND.into(),
        frontend_attrs: frontend(job, &cache.imports),
        cache: Some(cache),
        exporters: vec![Exporter {
            r#type: "image".into(),
            attrs: image(job),
        }],
        source_policy: Some(policy(job)),
        ..SolveRequest::default()
    }
}

/// What a cache is exported with.
const EXPORT: [(&str, &str); 4] = [
    ("mode", "max"),
    ("image-manifest", "true"),
    ("oci-mediatypes", "true"),
    ("ignore-error", "true"),
];

fn entry(job: &Job, reference: &str, more: &[(&str, &str)]) -> CacheOptionsEntry {
    let mut attrs = attrs(more);
    attrs.insert("ref".into(), reference.into());
    insecure(job, &mut attrs);
    CacheOptionsEntry {
        r#type: "registry".into(),
        attrs,
    }
}

fn frontend(job: &Job, imports: &[CacheOptionsEntry]) -> Attrs {
    let mut attrs = attrs(&[("filename", &job.dockerfile)]);

    for (name, value) in &job.args {
        attrs.insert(format!("build-arg:{name}"), value.clone());
    }

    // After the user's own, so that these stand. `# syntax=` in a Dockerfile names an image that
    // would be run in the place of the frontend, and a cache mount is found by a name that every
    // Dockerfile may choose.
    attrs.insert("cmdline".into(), FRONTEND.into());
    attrs.insert("build-arg:BUILDKIT_SYNTAX".into(), FRONTEND.into());
    attrs.insert(
        "build-arg:BUILDKIT_CACHE_MOUNT_NS".into(),
        job.cache_mounts.clone(),
    );

    if let Some(target) = &job.target {
        attrs.insert("target".into(), target.clone());
    }

    if !job.platforms.is_empty() {
        attrs.insert("platform".into(), job.platforms.join(","));
    }

    if job.no_cache {
        attrs.insert("no-cache".into(), String::new());
    }

    if job.provenance {
        attrs.insert("attest:provenance".into(), "mode=min".into());
    }

    if job.sbom {
        attrs.insert("attest:sbom".into(), String::new());
    }

    if !imports.is_empty() {
        // The frontend looks here, and nowhere else.
        let all: Vec<_> = imports
            .iter()
            .map(|entry| json!({"Type": entry.r#type, "Attrs": entry.attrs}))
            .collect();
        attrs.insert("cache-imports".into(), json!(all).to_string());
    }

    attrs
}

fn image(job: &Job) -> Attrs {
    let mut attrs = attrs(&[
        ("name", &job.image),
        ("push", "true"),
        ("oci-mediatypes", "true"),
    ]);

    if job.compression == Compression::Zstd {
        attrs.extend([
            ("compression".into(), "zstd".into()),
            ("force-compression".into(), "true".into()),
        ]);
    }

    insecure(job, &mut attrs);
    attrs
}

/// The staging registry is read by its login, which every build has: no Dockerfile may name what is
/// in it.
fn policy(job: &Job) -> Policy {
    let deny = |identifier: &String| Rule {
        action: PolicyAction::Deny.into(),
        selector: Some(Selector {
            identifier: format!("^docker-image://{}/", regex::escape(identifier)),
            match_type: MatchType::Regex.into(),
            constraints: Vec::new(),
        }),
        updates: None,
    };
    Policy {
        version: 1,
        rules: job.denied.iter().map(deny).collect(),
    }
}

fn insecure(job: &Job, attrs: &mut Attrs) {
    if job.plain_http {
        attrs.insert("registry.insecure".into(), "true".into());
    }
}

fn attrs(pairs: &[(&str, &str)]) -> Attrs {
    pairs
        .iter()
        .map(|(key, value)| ((*key).into(), (*value).into()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        Job {
            dockerfile: "Dockerfile".into(),
            image: "staging:5000/b/x/k:latest".into(),
            cache_imports: vec!["staging:5000/cache/x/c:main".into()],
            cache_export: Some("staging:5000/cache/x/c:main".into()),
            denied: vec!["staging:5000/b".into()],
            cache_mounts: "a1b2".into(),
            ..Job::default()
        }
    }

    #[test]
    fn the_cache_is_named_where_the_frontend_looks() {
        let made = request(&job(), "r", "s");
        let imports: serde_json::Value =
            serde_json::from_str(&made.frontend_attrs["cache-imports"]).unwrap();
        assert_eq!(imports[0]["Attrs"]["ref"], "staging:5000/cache/x/c:main");
        let without = request(
            &Job {
                no_cache: true,
                ..job()
            },
            "r",
            "s",
        );
        assert!(
            !without.frontend_attrs.contains_key("cache-imports")
                && without.frontend_attrs.contains_key("no-cache")
        );
        assert_eq!(without.cache.unwrap().imports, []);
    }

    #[test]
    fn plain_http_is_spoken_only_where_the_url_says_so() {
        for (plain_http, wanted) in [(false, None), (true, Some("true"))] {
            let made = request(
                &Job {
                    plain_http,
                    ..job()
                },
                "r",
                "s",
            );
            let cache = made.cache.unwrap();
            for attrs in [
                &made.exporters[0].attrs,
                &cache.exports[0].attrs,
                &cache.imports[0].attrs,
            ] {
                assert_eq!(attrs.get("registry.insecure").map(String::as_str), wanted);
            }
        }
    }

    #[test]
    fn cache_mounts_have_the_name_of_their_owner_whatever_the_arguments_say() {
        const NAME: &str = "build-arg:BUILDKIT_CACHE_MOUNT_NS";
        assert_eq!(request(&job(), "r", "s").frontend_attrs[NAME], "a1b2");
        let args = ["BUILDKIT_CACHE_MOUNT_NS", "BUILDKIT_SYNTAX"]
            .map(|name| (name.into(), "evil".into()))
            .into();
        let made = request(&Job { args, ..job() }, "r", "s");
        assert_eq!(made.frontend_attrs[NAME], "a1b2");
        assert_eq!(made.frontend_attrs["build-arg:BUILDKIT_SYNTAX"], FRONTEND);
    }

    #[test]
    fn no_argument_changes_the_frontend_and_nothing_privileged_is_asked_for() {
        let args = [("NODE_ENV".into(), "production".into())].into();
        let made = request(&Job { args, ..job() }, "r", "s");
        assert_eq!(made.frontend, FRONTEND);
        assert_eq!(made.frontend_attrs["build-arg:NODE_ENV"], "production");
        assert_eq!(made.frontend_attrs["cmdline"], FRONTEND);
        assert!(made.entitlements.is_empty());
        let rules = made.source_policy.unwrap().rules;
        assert_eq!(
            rules[0].selector.as_ref().unwrap().identifier,
            r"^docker-image://staging:5000/b/"
        );
    }
}

//! What a build needs: its sources from the git hosts, its values from the cluster, and the key of
//! all of it.

use sequencer_api::build::{BuildSpec, ImportContent};
use sequencer_api::names::{h6, h10};

use super::{Builder, Task};
use crate::buildkit::Job;
use crate::error::Error;
use crate::key::{Inputs, key};
use crate::source::{self, Source};

/// All that a build needs.
pub(super) struct Prepared {
    pub(super) source: Source,
    pub(super) key: String,
    pub(super) job: Job,
}

/// Whose cache mounts a build sees: those of its namespace and repositories.
fn cache_mounts<'a>(namespace: &'a str, urls: impl Iterator<Item = &'a str>) -> String {
    h10(&std::iter::once(namespace).chain(urls).collect::<Vec<_>>())
}

/// What of the key follows from the spec and the sources.
fn inputs<'a>(spec: &'a BuildSpec, source: &'a Source) -> Inputs<'a> {
    let git = |import: &'a ImportContent| import.content_from.git.as_ref();
    let mut imports = spec.import_content.iter().filter_map(git);
    let history = imports.any(|git| git.depth > 1);
    let commits = source
        .imports
        .iter()
        .map(|import| import.recorded.commit.as_str());
    let trees = source
        .trees
        .iter()
        .map(|(at, tree)| (at.as_str(), tree.as_str()));

    Inputs {
        trees: trees.collect(),
        history: commits.filter(|_| history).collect(),
        dockerfile: &source.dockerfile,
        content: &source.content,
        target: spec.target.as_deref(),
        args: None,
        secrets: None,
        platforms: spec.platforms.iter().map(String::as_str).collect(),
        form: Vec::new(),
    }
}

impl Builder<'_> {
    /// Reads the sources and what goes with them. No file is written before it is known that the
    /// image has to be built.
    pub(super) async fn prepare(&self, task: &Task<'_>) -> Result<Prepared, Error> {
        let spec = &task.build.spec;
        let args = task.reader.args(spec.args.as_ref()).await?;
        let secrets = task.reader.secrets(spec.secrets.as_ref()).await?;
        let source = source::read(&self.service.git, task.namespace, spec, &task.reader).await?;
        let attestations = spec.attestations.clone().unwrap_or_default();
        let form = [
            format!("{:?}", spec.compression),
            attestations.sbom.to_string(),
            attestations.provenance.to_string(),
        ];
        let inputs = Inputs {
            args: Some(&args),
            secrets: Some(&secrets),
            form: form.iter().map(String::as_str).collect(),
            ..inputs(spec, &source)
        };
        let key = key(&inputs, task.namespace, &self.service.pepper);

        let (export, imports) = self.caches(task, &source);
        let mut logins = task.reader.logins(spec).await;
        logins.extend(
            self.service
                .staging
                .login()
                .map(|login| (self.service.staging.host().to_owned(), login.clone())),
        );

        let job = Job {
            dockerfile: source.dockerfile.clone(),
            target: spec.target.clone(),
            args,
            secrets,
            hidden: source.hidden(),
            logins,
            platforms: spec.platforms.clone(),
            compression: spec.compression,
            sbom: attestations.sbom,
            provenance: attestations.provenance,
            no_cache: spec.runtime.no_cache,
            image: self.service.staging.image(task.namespace, &key),
            cache_imports: imports,
            cache_export: Some(export),
            plain_http: self.service.staging.plain_http(),
            denied: ["b", "cache"]
                .map(|folder| self.service.staging.repository(folder))
                .into(),
            shared: h10(&[task.namespace, &spec.name]),
            cache_mounts: cache_mounts(
                task.namespace,
                source
                    .imports
                    .iter()
                    .map(|import| import.recorded.url.as_str()),
            ),
        };

        Ok(Prepared { source, key, job })
    }

    /// Where this build's steps are kept, and where steps of others may be: of this branch, and of
    /// the remote's own.
    fn caches(&self, task: &Task<'_>, source: &Source) -> (String, Vec<String>) {
        let spec = &task.build.spec;
        let urls: Vec<_> = source
            .imports
            .iter()
            .map(|import| import.recorded.url.as_str())
            .collect();
        let what = h10(&[
            &urls.concat(),
            &spec.context,
            &spec.dockerfile,
            &spec.platforms.concat(),
        ]);
        let repository = self
            .service
            .staging
            .repository(&format!("cache/{}/{what}", h10(&[task.namespace])));
        let branch = source
            .imports
            .iter()
            .find_map(|import| import.recorded.reference.as_deref());
        let own = branch.map_or_else(|| "head".into(), |branch| format!("ref-{}", h6(&[branch])));
        let (own, head) = (format!("{repository}:{own}"), format!("{repository}:head"));
        let mut imports = vec![own.clone()];
        imports.extend((own != head).then_some(head));
        (own, imports)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cache_mounts_are_those_of_one_namespace_and_repository() {
        let all = [
            cache_mounts("team-a", ["git@h:a"].into_iter()),
            cache_mounts("team-b", ["git@h:a"].into_iter()),
            cache_mounts("team-a", ["git@h:b"].into_iter()),
            cache_mounts("team-a", ["git@h:a", "git@h:b"].into_iter()),
        ];

        assert_eq!(
            all.iter().collect::<std::collections::BTreeSet<_>>().len(),
            all.len()
        );
        assert_eq!(all[0], cache_mounts("team-a", ["git@h:a"].into_iter()));
    }
}

//! What a build needs: its sources from the git hosts, its values from the cluster, and the key of all of it.

use sequencer_api::names::{h6, h10};

use super::Work;
use crate::buildkit::Job;
use crate::error::Error;
use crate::handle::Service;
use crate::key::{Inputs, key};
use crate::source::{self, Source};

/// All that a build needs.
pub(super) struct Prepared {
    /// The sources are in its folder as long as it lives.
    pub(super) source: Source,
    pub(super) key: String,
    pub(super) job: Job,
}

impl Service {
    /// Fetches the sources and reads what goes with them.
    pub(super) async fn prepare(&self, work: &Work<'_>) -> Result<Prepared, Error> {
        let spec = &work.build.spec;
        let args = work.reader.args(spec.args.as_ref()).await?;
        let secrets = work.reader.secrets(spec.secrets.as_ref()).await?;
        let source = source::fetch(&self.git, &self.work, work.namespace, spec, &work.reader).await?;
        let history =
            spec.import_content.iter().any(|import| import.content_from.git.as_ref().is_some_and(|git| git.depth > 1));
        let attestations = spec.attestations.clone().unwrap_or_default();
        let form =
            [format!("{:?}", spec.compression), attestations.sbom.to_string(), attestations.provenance.to_string()];
        let commits = source.imports.iter().map(|import| import.commit.as_str());
        let inputs = Inputs {
            trees: source.trees.iter().map(|(at, tree)| (at.as_str(), tree.as_str())).collect(),
            history: commits.filter(|_| history).collect(),
            dockerfile: &source.dockerfile,
            content: &source.content,
            target: spec.target.as_deref(),
            args: Some(&args),
            secrets: Some(&secrets),
            platforms: spec.platforms.iter().map(String::as_str).collect(),
            form: form.iter().map(String::as_str).collect(),
        };
        let key = key(&inputs, work.namespace, &self.pepper);
        let (export, imports) = self.caches(work, &source);
        let mut logins = work.reader.logins(spec).await;
        logins.extend(self.staging.login().map(|login| (self.staging.host(), login.clone())));
        let job = Job {
            context: source.context.clone(),
            dockerfile: source.dockerfile.clone(),
            target: spec.target.clone(),
            args,
            secrets,
            hidden: source.hidden.clone(),
            logins,
            platforms: spec.platforms.clone(),
            compression: spec.compression,
            sbom: attestations.sbom,
            provenance: attestations.provenance,
            no_cache: spec.runtime.no_cache,
            image: self.staging.image(work.namespace, &key),
            cache_imports: imports,
            cache_export: Some(export),
            plain_http: self.staging.plain_http(),
            denied: ["b", "cache"].map(|folder| self.staging.repository(folder)).into(),
            shared: h10(&[work.namespace, &spec.name]),
        };
        Ok(Prepared { source, key, job })
    }

    /// Where this build's steps are kept, and where steps of others may be: of this branch, and of the remote's own.
    fn caches(&self, work: &Work<'_>, source: &Source) -> (String, Vec<String>) {
        let spec = &work.build.spec;
        let urls: Vec<_> = source.imports.iter().map(|import| import.url.as_str()).collect();
        let what = h10(&[&urls.concat(), &spec.context, &spec.dockerfile, &spec.platforms.concat()]);
        let repository = self.staging.repository(&format!("cache/{}/{what}", h10(&[work.namespace])));
        let branch = source.imports.iter().find_map(|import| import.reference.as_deref());
        let own = branch.map_or_else(|| "head".into(), |branch| format!("ref-{}", h6(&[branch])));
        let (own, head) = (format!("{repository}:{own}"), format!("{repository}:head"));
        let mut imports = vec![own.clone()];
        imports.extend((own != head).then_some(head));
        (own, imports)
    }
}

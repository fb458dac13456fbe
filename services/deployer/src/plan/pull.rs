//! Which logins a Component's pods pull with.

use sequencer_api::Build;
use sequencer_api::login::supported;
use sequencer_api::secret::Credentials;

use super::View;
use super::used::Used;

/// A registry of images that a Component runs, and the login that its Build names for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted<'a> {
    /// `host[:port]/path`, or a path on Docker Hub.
    pub(crate) url: &'a str,
    /// They name a Secret of the Component's namespace.
    pub(crate) credentials: &'a Credentials,
}

/// The logins of the first registries of the Builds that run. A login of another namespace is never
/// copied, and a pod's identity is the node's business.
pub(crate) fn wanted<'a>(view: &'a View, used: &Used) -> Vec<Wanted<'a>> {
    let running = used.builds.iter().filter(|build| build.runs);
    let object = |name: &str| {
        view.builds
            .iter()
            .find(|build| build.metadata.name.as_deref() == Some(name))
    };

    running
        .filter_map(|build| object(&build.object))
        .filter_map(|build| of_build(view, build))
        .collect()
}

fn of_build<'a>(view: &View, build: &'a Build) -> Option<Wanted<'a>> {
    let registry = build.spec.container_registries.first()?;
    let credentials = registry.credentials.as_ref()?;
    let secret = credentials.secret_ref.as_ref()?;
    let here = secret
        .namespace
        .as_deref()
        .is_none_or(|namespace| namespace == view.namespace());
    let copied = supported(credentials.auth_scheme).is_ok();

    (here && copied).then_some(Wanted {
        url: &registry.url,
        credentials,
    })
}

//! Which login a Component's pods pull with.

use sequencer_api::Build;
use sequencer_api::secret::{AuthScheme, Credentials};

use super::View;
use super::values::Used;

/// The registry of an image that a Component runs, and the login that its Build names for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted<'a> {
    /// `host[:port]/path`, or a path on Docker Hub.
    pub(crate) url: &'a str,
    /// The login.
    pub(crate) credentials: &'a Credentials,
}

/// The login of the first registry of the first Build that runs. A login of another namespace is never copied, and a
/// pod's identity is the node's business.
pub(crate) fn wanted<'a>(view: &'a View, used: &Used) -> Option<Wanted<'a>> {
    let running: Vec<_> = used.builds.iter().filter(|build| build.runs).collect();
    let object = |name: &str| view.builds.iter().find(|build| build.metadata.name.as_deref() == Some(name));
    running.iter().filter_map(|build| object(&build.object)).find_map(|build| of_build(view, build))
}

fn of_build<'a>(view: &View, build: &'a Build) -> Option<Wanted<'a>> {
    let registry = build.spec.container_registries.first()?;
    let credentials = registry.credentials.as_ref()?;
    let secret = credentials.secret_ref.as_ref()?;
    let here = secret.namespace.as_deref().is_none_or(|namespace| namespace == view.namespace());
    let copied = matches!(credentials.auth_scheme, AuthScheme::KeyPair | AuthScheme::Token);
    (here && copied).then_some(Wanted { url: &registry.url, credentials })
}

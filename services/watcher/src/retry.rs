//! What people change to have everything tried again now.

use kube::{Resource, ResourceExt as _};
use sequencer_api::{Workspace, labels};

/// The annotations that ask for another try: any change of them is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retry {
    /// The value on the object itself.
    own: String,
    /// The value on its Workspace.
    workspace: String,
    /// Whether what the Workspace has outside is given up.
    abandoned: bool,
}

impl Retry {
    /// Of an object.
    pub fn of(object: &impl Resource) -> Self {
        Self {
            own: annotation(object),
            ..Self::default()
        }
    }

    /// Whoever annotates a Workspace means all of it.
    #[must_use]
    pub fn within(self, workspace: Option<&Workspace>) -> Self {
        Self {
            workspace: workspace.map(annotation).unwrap_or_default(),
            ..self
        }
    }

    /// Of something outside: once it is given up it is tried once more.
    #[must_use]
    pub fn outside(self, workspace: Option<&Workspace>) -> Self {
        Self {
            abandoned: workspace.is_some_and(Workspace::is_abandoned),
            ..self
        }
    }
}

fn annotation(object: &impl Resource) -> String {
    let value = object.annotations().get(labels::RETRY);
    value.cloned().unwrap_or_default()
}

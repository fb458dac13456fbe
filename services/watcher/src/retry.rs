//! What people change to have everything tried again now.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use sequencer_api::status::Section;
use sequencer_api::{Workspace, labels};

/// What is asked to be tried again of an object, by annotations on it and on what it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retry {
    /// A hash of the annotations; None if there is none.
    pub asked: Option<String>,
    /// Whether what the Workspace has outside is given up.
    abandoned: bool,
}

impl Retry {
    /// Of an object and of what it belongs to: whoever annotates a Workspace means all of it.
    pub fn of<'a>(object: &'a impl Resource, owners: &[Option<&'a ObjectMeta>]) -> Self {
        let owners = owners.iter().copied().flatten();
        Self {
            asked: labels::asked([object.meta()].into_iter().chain(owners)),
            abandoned: false,
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

    /// That this is asked.
    #[cfg(test)]
    pub(crate) fn asking(asked: Option<&str>) -> Self {
        Self {
            asked: asked.map(Into::into),
            abandoned: false,
        }
    }

    /// Whether a section has not tried yet what is asked.
    #[must_use]
    pub fn is_new_to(&self, section: &Section) -> bool {
        self.asked.is_some() && self.asked != section.asked
    }
}

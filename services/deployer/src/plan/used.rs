//! What a template takes from elsewhere.

use super::View;

/// A Build that a template took something from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedBuild {
    /// The name in variables.
    pub name: String,
    /// The Build's own name.
    pub object: String,
    pub commit: String,
    pub image: String,
    /// Whether a container runs it.
    pub runs: bool,
}

/// What a template took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Builds, the Component's own first.
    pub builds: Vec<UsedBuild>,
    /// Generated variables, by name, with their lengths.
    pub generated: Vec<(String, i32)>,
}

impl Used {
    /// The Build that speaks for the Component.
    #[must_use]
    pub fn build(&self) -> Option<&UsedBuild> {
        self.builds.first()
    }
}

/// The Build of this name that pods run.
pub(super) fn current(view: &View, name: &str) -> Option<UsedBuild> {
    let build = view.surroundings().build(name)?;
    let status = build.status.as_ref()?;
    // One that follows a branch names no commit. What it was built from is recorded.
    let built = status.image.sources.first();
    let built = built.map(|source| source.commit.as_str());

    Some(UsedBuild {
        name: name.into(),
        object: build.metadata.name.clone()?,
        commit: build.spec.commit().or(built)?.into(),
        image: status.publish.image.clone()?,
        runs: false,
    })
}

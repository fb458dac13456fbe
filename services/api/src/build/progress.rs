//! How far a Build is, and which one of several pods run.

use super::{Build, BuildSpec};
use crate::labels::SUPERSEDED_BY;
use crate::status::State;
use crate::stored::Stored as _;

impl Build {
    /// Whether its image is in the staging registry.
    #[must_use]
    pub fn is_built(&self) -> bool {
        let generation = self.generation();
        let section = self.status.as_ref().map(|status| &status.image.section);
        section.is_some_and(|section| section.is(State::Completed, generation))
    }

    /// Whether it may have to be built yet.
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.is_wanted() && !self.is_built()
    }

    /// Whether every registry has it. A Build never changes, so its generation says nothing.
    #[must_use]
    pub fn is_published(&self) -> bool {
        let section = self.status.as_ref().map(|status| &status.publish.section);
        section.is_some_and(|section| section.state == Some(State::Completed))
    }

    /// Whether another Build of its Component took its place before it was published: nobody needs
    /// it any more, and it moves no tag. One that is wanted again has its mark taken away first.
    #[must_use]
    pub fn is_superseded(&self) -> bool {
        let marks = self.metadata.annotations.as_ref();
        marks.is_some_and(|marks| marks.contains_key(SUPERSEDED_BY)) && !self.is_published()
    }

    /// Tells whether anybody wants it, whatever became of it.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.metadata.deletion_timestamp.is_none() && !self.is_superseded()
    }

    /// Whether it was made from this spec, whichever commits the branches had then.
    #[must_use]
    pub fn is_of(&self, spec: &BuildSpec) -> bool {
        let mut made = self.spec.clone();
        let imports = made.import_content.iter_mut().zip(&spec.import_content);

        for (made, wanted) in imports {
            let wanted = wanted.content_from.git.as_ref();
            let follows_a_branch = wanted.is_some_and(|git| git.commit.is_none());
            if let Some(git) = made.content_from.git.as_mut().filter(|_| follows_a_branch) {
                git.commit = None;
            }
        }

        made == *spec
    }

    /// Returns the Build that pods run, of those of one component: the wanted one once it is
    /// published, else the one that serves, else the last that was made.
    pub fn to_run<'a>(
        builds: impl IntoIterator<Item = &'a Self>,
        wanted: Option<&str>,
        serves: Option<&str>,
    ) -> Option<&'a Self> {
        let runs =
            |build: &&Self| build.is_published() && build.metadata.deletion_timestamp.is_none();
        builds.into_iter().filter(runs).max_by_key(|build| {
            let name = build.metadata.name.as_deref();
            let created = build.metadata.creation_timestamp.as_ref();

            (
                name == wanted,
                name == serves,
                created.map(|created| created.0),
                name,
            )
        })
    }
}

//! Decisions. Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sequencer_api::Build;
use sequencer_api::component::UpdateMode;
use sequencer_api::status::build::ImageSection;
use sequencer_api::status::component::{SourceImport, SourceSection};

/// Puts the commits that were found into the section, as far as the mode lets them. Returns whether
/// one moved.
pub fn resolve(
    section: &mut SourceSection,
    found: Vec<SourceImport>,
    mode: UpdateMode,
    now: Timestamp,
) -> bool {
    let (imports, available) = match mode {
        UpdateMode::Follow => (found, None),
        UpdateMode::Pin => pinned(&section.imports, found),
    };

    let moved = imports != section.imports;
    if moved {
        section.changed_at = Some(Time(now));
    }

    section.imports = imports;
    section.available = available;
    moved
}

/// The commits that stay, and the first newer one that is held back.
fn pinned(
    before: &[SourceImport],
    found: Vec<SourceImport>,
) -> (Vec<SourceImport>, Option<String>) {
    let mut available = None;
    let stays = |found: SourceImport| {
        let same = |old: &&SourceImport| {
            (&old.path, &old.url, &old.reference) == (&found.path, &found.url, &found.reference)
        };

        let Some(old) = before.iter().find(same) else {
            return found;
        };

        if old.commit != found.commit {
            available.get_or_insert(found.commit);
        }

        old.clone()
    };

    let imports = found.into_iter().map(stays).collect();
    (imports, available)
}

/// Another Build of the same key that is built right now and was begun before mine, or at all if I
/// have not begun.
#[must_use]
pub fn ahead<'a>(
    all: &'a [Build],
    uid: &str,
    begun: Option<Timestamp>,
    now: Timestamp,
) -> Option<&'a Build> {
    let found = others(all, uid).find(|(build, image)| {
        let alive = image
            .section
            .claim
            .as_ref()
            .is_some_and(|claim| claim.until.0 > now);
        let started = image
            .started_at
            .as_ref()
            .map_or(Timestamp::MIN, |time| time.0);
        let before =
            begun.is_none_or(|mine| (started, build.metadata.uid.as_deref()) < (mine, Some(uid)));
        alive && build.metadata.deletion_timestamp.is_none() && before
    });
    found.map(|(build, _)| build)
}

/// The name of the Build that an image of this digest is from: of those of one key the one that
/// recorded it, or else the one that works at it, because an image can be found between its push
/// and its record.
#[must_use]
pub fn origin<'a>(all: &'a [Build], uid: &str, digest: &str) -> Option<&'a str> {
    let recorded = others(all, uid).find(|(_, image)| image.digest.as_deref() == Some(digest));
    let (build, _) =
        recorded.or_else(|| others(all, uid).find(|(_, image)| image.section.claim.is_some()))?;
    build.metadata.name.as_deref()
}

/// The Builds besides this one that have a status, with what it says of their images.
fn others<'a>(all: &'a [Build], uid: &str) -> impl Iterator<Item = (&'a Build, &'a ImageSection)> {
    let others = all
        .iter()
        .filter(move |build| build.metadata.uid.as_deref() != Some(uid));
    others.filter_map(|build| Some((build, &build.status.as_ref()?.image)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn import(reference: &str, commit: &str) -> SourceImport {
        SourceImport {
            path: ".".into(),
            url: "git@h:a".into(),
            reference: Some(reference.into()),
            commit: commit.into(),
            subject: None,
        }
    }

    fn resolved(
        before: &SourceSection,
        found: SourceImport,
        mode: UpdateMode,
        now: i64,
    ) -> SourceSection {
        let mut section = before.clone();
        let moved = resolve(&mut section, vec![found], mode, at(now));
        assert_eq!(moved, section.imports != before.imports);
        section
    }

    #[test]
    fn nothing_changes_as_long_as_no_branch_moves() {
        let follow = |before: &SourceSection, commit, now| {
            resolved(before, import("main", commit), UpdateMode::Follow, now)
        };

        let first = follow(&SourceSection::default(), "a", 5);
        assert_eq!(first.changed_at, Some(Time(at(5))));
        assert_eq!(follow(&first, "a", 6), first);

        let moved = follow(&first, "b", 7);
        assert_eq!(moved.imports[0].commit, "b");
        assert_eq!(moved.changed_at, Some(Time(at(7))));
    }

    #[test]
    fn a_pinned_source_stays_and_tells_what_is_available() {
        let pin = |before: &SourceSection, reference, commit| {
            resolved(before, import(reference, commit), UpdateMode::Pin, 9)
        };
        let first = pin(&SourceSection::default(), "main", "a");
        assert_eq!(first.imports[0].commit, "a");
        assert_eq!(first.available, None);

        let newer = pin(&first, "main", "b");
        assert_eq!(newer.imports[0].commit, "a");
        assert_eq!(newer.available.as_deref(), Some("b"));
        assert_eq!(pin(&newer, "main", "b"), newer);

        // Another branch is another wish.
        assert_eq!(pin(&newer, "other", "c").imports[0].commit, "c");
    }

    fn build(uid: &str, started: i64, until: Option<i64>) -> Build {
        let claim = until.map(|until| json!({"holder": "x/1", "until": at(until).to_string()}));
        let spec = json!({"name": "a", "containerRegistries": [], "importContent": []});
        let image =
            json!({"startedAt": at(started).to_string(), "claim": claim, "digest": "sha256:x"});
        serde_json::from_value(json!({
            "apiVersion": "se.quencer.io/v1alpha1", "kind": "Build", "metadata": {"name": uid, "uid": uid},
            "spec": spec, "status": {"image": image},
        }))
        .unwrap()
    }

    #[test]
    fn of_two_builds_of_one_key_exactly_one_goes_ahead() {
        let all = [
            build("a", 5, Some(100)),
            build("b", 5, Some(100)),
            build("c", 1, Some(10)),
            build("d", 0, None),
        ];
        let ahead_of = |uid, begun| {
            ahead(&all, uid, begun, at(50)).and_then(|build| build.metadata.name.clone())
        };

        assert_eq!(ahead_of("a", Some(at(5))), None);
        assert_eq!(ahead_of("b", Some(at(5))).as_deref(), Some("a"));
        assert_eq!(ahead_of("z", Some(at(6))).as_deref(), Some("a"));
        assert_eq!(ahead_of("0", Some(at(4))), None);
        // Whoever has not begun waits for anybody.
        assert_eq!(ahead_of("0", None).as_deref(), Some("a"));
    }

    #[test]
    fn an_image_is_from_the_build_that_recorded_it_or_else_from_the_one_at_work() {
        let all = [
            build("a", 5, None),
            build("b", 5, Some(100)),
            build("c", 1, None),
        ];
        assert_eq!(origin(&all, "a", "sha256:x"), Some("b"));
        assert_eq!(origin(&all, "b", "sha256:x"), Some("a"));
        assert_eq!(origin(&all, "a", "sha256:pushed, not recorded"), Some("b"));
        assert_eq!(origin(&all, "b", "sha256:of nobody"), None);
    }
}

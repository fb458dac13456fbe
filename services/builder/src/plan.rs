//! Decisions. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use sequencer_api::Build;
use sequencer_api::component::UpdateMode;
use sequencer_api::status::build::ImageSection;
use sequencer_api::status::component::{SourceImport, SourceSection};
use sequencer_api::status::{Section, State};
use sequencer_proto::topics::ASKED;

/// What to do about an object whose section stands like this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// Work at it.
    Work,
    /// It is as it should be, or it is too early to try again.
    Leave,
    /// Work at it only if one of these Secrets, `<namespace>/<name>`, has another version now.
    IfChanged(BTreeMap<String, String>),
}

/// By a section. `settled`: what is completed for this generation stays so.
#[must_use]
pub fn look(section: &Section, settled: bool, generation: i64, why: &str, now: Timestamp) -> Look {
    if section.observed_generation != Some(generation) {
        return Look::Work;
    }
    if section.state == Some(State::Completed) {
        return if settled { Look::Leave } else { Look::Work };
    }
    match &section.retry {
        Some(retry) if retry.next_attempt_at.0 > now && why != ASKED => {
            if retry.secret_versions.is_empty() {
                Look::Leave
            } else {
                Look::IfChanged(retry.secret_versions.clone())
            }
        }
        _ => Look::Work,
    }
}

/// The source section once every import's commit is known; nothing if it says so already.
#[must_use]
pub fn resolved(
    before: &SourceSection,
    found: Vec<SourceImport>,
    mode: UpdateMode,
    generation: i64,
    now: Timestamp,
) -> Option<SourceSection> {
    let (imports, available) = match mode {
        UpdateMode::Follow => (found, None),
        UpdateMode::Pin => pinned(&before.imports, found),
    };
    let section = Section {
        rev: before.section.rev,
        state: Some(State::Completed),
        observed_generation: Some(generation),
        claim: None,
        retry: None,
    };
    let moved = imports != before.imports;
    let changed_at = if moved { Some(Time(now)) } else { before.changed_at.clone() };
    let next = SourceSection { section, imports, available, changed_at };
    (next != *before).then_some(next)
}

/// The commits that stay, and the first newer one that is held back.
fn pinned(before: &[SourceImport], found: Vec<SourceImport>) -> (Vec<SourceImport>, Option<String>) {
    let mut available = None;
    let stays = |found: SourceImport| {
        let same =
            |old: &&SourceImport| (&old.path, &old.url, &old.reference) == (&found.path, &found.url, &found.reference);
        let Some(old) = before.iter().find(same) else { return found };
        if old.commit != found.commit {
            available.get_or_insert(found.commit);
        }
        old.clone()
    };
    let imports = found.into_iter().map(stays).collect();
    (imports, available)
}

/// Another Build of the same key that is built right now and was begun before mine, or at all if I have not begun.
#[must_use]
pub fn ahead<'a>(all: &'a [Build], uid: &str, begun: Option<Timestamp>, now: Timestamp) -> Option<&'a Build> {
    let found = others(all, uid).find(|(build, image)| {
        let alive = image.section.claim.as_ref().is_some_and(|claim| claim.until.0 > now);
        let started = image.started_at.as_ref().map_or(Timestamp::MIN, |time| time.0);
        let before = begun.is_none_or(|mine| (started, build.metadata.uid.as_deref()) < (mine, Some(uid)));
        alive && build.metadata.deletion_timestamp.is_none() && before
    });
    found.map(|(build, _)| build)
}

/// The name of the Build that an image of this digest is from: of those of one key the one that recorded it, or else
/// the one that works at it, because an image can be found between its push and its record.
#[must_use]
pub fn origin<'a>(all: &'a [Build], uid: &str, digest: &str) -> Option<&'a str> {
    let recorded = others(all, uid).find(|(_, image)| image.digest.as_deref() == Some(digest));
    let (build, _) = recorded.or_else(|| others(all, uid).find(|(_, image)| image.section.claim.is_some()))?;
    build.metadata.name.as_deref()
}

/// The Builds besides this one that have a status, with what it says of their images.
fn others<'a>(all: &'a [Build], uid: &str) -> impl Iterator<Item = (&'a Build, &'a ImageSection)> {
    let others = all.iter().filter(move |build| build.metadata.uid.as_deref() != Some(uid));
    others.filter_map(|build| Some((build, &build.status.as_ref()?.image)))
}

#[cfg(test)]
mod tests {
    use sequencer_api::status::Retry;
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

    fn failed(secrets: &[&str]) -> Section {
        let secret_versions = secrets.iter().map(|name| ((*name).to_owned(), "1".to_owned())).collect();
        let retry = Retry {
            attempts: 1,
            next_attempt_at: Time(at(100)),
            code: "E#1016".into(),
            message: String::new(),
            secret_versions,
        };
        Section { state: Some(State::Error), observed_generation: Some(1), retry: Some(retry), ..Section::default() }
    }

    #[test]
    fn a_failure_waits_until_its_time_its_secret_its_spec_or_a_person() {
        assert_eq!(look(&failed(&[]), true, 1, "", at(99)), Look::Leave);
        assert!(matches!(look(&failed(&["a/b"]), true, 1, "", at(99)), Look::IfChanged(secrets) if secrets.len() == 1));
        for (generation, why, now) in [(1, "", 100), (2, "", 0), (1, ASKED, 0)] {
            assert_eq!(look(&failed(&["a/b"]), true, generation, why, at(now)), Look::Work);
        }
    }

    #[test]
    fn what_is_built_stays_and_what_is_resolved_is_looked_at_again() {
        let done = Section { state: Some(State::Completed), observed_generation: Some(1), ..Section::default() };
        assert_eq!(look(&done, true, 1, ASKED, at(0)), Look::Leave);
        assert_eq!(look(&done, false, 1, "", at(0)), Look::Work);
        assert_eq!(look(&Section::default(), true, 1, "", at(0)), Look::Work);
    }

    #[test]
    fn nothing_is_written_as_long_as_no_branch_moves() {
        let follow = |before: &SourceSection, commit, generation, now| {
            resolved(before, vec![import("main", commit)], UpdateMode::Follow, generation, at(now))
        };
        let first = follow(&SourceSection::default(), "a", 1, 5).unwrap();
        assert_eq!(first.changed_at, Some(Time(at(5))));
        assert_eq!(follow(&first, "a", 1, 6), None);
        let same = follow(&first, "a", 2, 6).unwrap();
        assert_eq!((same.section.observed_generation, same.changed_at), (Some(2), Some(Time(at(5)))));
        let moved = follow(&first, "b", 1, 7).unwrap();
        assert_eq!((moved.imports[0].commit.as_str(), moved.changed_at), ("b", Some(Time(at(7)))));
    }

    #[test]
    fn a_pinned_source_stays_and_tells_what_is_available() {
        let pin = |before: &SourceSection, reference, commit| {
            resolved(before, vec![import(reference, commit)], UpdateMode::Pin, 1, at(9))
        };
        let first = pin(&SourceSection::default(), "main", "a").unwrap();
        assert_eq!((first.imports[0].commit.as_str(), &first.available), ("a", &None));
        let newer = pin(&first, "main", "b").unwrap();
        assert_eq!((newer.imports[0].commit.as_str(), newer.available.as_deref()), ("a", Some("b")));
        assert_eq!(pin(&newer, "main", "b"), None);
        // Another branch is another wish.
        assert_eq!(pin(&newer, "other", "c").unwrap().imports[0].commit, "c");
    }

    fn build(uid: &str, started: i64, until: Option<i64>) -> Build {
        let claim = until.map(|until| json!({"holder": "x/1", "until": at(until).to_string()}));
        let spec = json!({"name": "a", "containerRegistries": [], "importContent": []});
        let image = json!({"startedAt": at(started).to_string(), "claim": claim, "digest": "sha256:x"});
        serde_json::from_value(json!({
            "apiVersion": "se.quencer.io/v1alpha1", "kind": "Build", "metadata": {"name": uid, "uid": uid},
            "spec": spec, "status": {"image": image},
        }))
        .unwrap()
    }

    #[test]
    fn of_two_builds_of_one_key_exactly_one_goes_ahead() {
        let all = [build("a", 5, Some(100)), build("b", 5, Some(100)), build("c", 1, Some(10)), build("d", 0, None)];
        let ahead_of = |uid, begun| ahead(&all, uid, begun, at(50)).and_then(|build| build.metadata.name.clone());
        assert_eq!(ahead_of("a", Some(at(5))), None);
        assert_eq!(ahead_of("b", Some(at(5))).as_deref(), Some("a"));
        assert_eq!(ahead_of("z", Some(at(6))).as_deref(), Some("a"));
        assert_eq!(ahead_of("0", Some(at(4))), None);
        // Whoever has not begun waits for anybody.
        assert_eq!(ahead_of("0", None).as_deref(), Some("a"));
    }

    #[test]
    fn an_image_is_from_the_build_that_recorded_it_or_else_from_the_one_at_work() {
        let all = [build("a", 5, None), build("b", 5, Some(100)), build("c", 1, None)];
        assert_eq!(origin(&all, "a", "sha256:x"), Some("b"));
        assert_eq!(origin(&all, "b", "sha256:x"), Some("a"));
        assert_eq!(origin(&all, "a", "sha256:pushed, not recorded"), Some("b"));
        assert_eq!(origin(&all, "b", "sha256:of nobody"), None);
    }
}

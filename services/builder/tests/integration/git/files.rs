//! The files and folders of a commit.

use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use lab::layout::text;
use lab::parts::git as server;
use lab::process::output;
use sequencer_api::code::Code;
use sequencer_builder::git::{File, Limits, Login, Pick, Remote, Transport};

use super::{HTTPS, Harness, SSH, code, pick, remote_of};
use crate::repository::Repository;

#[tokio::test]
async fn a_commit_is_fetched_once_and_gives_the_same_files_each_time() -> Result<()> {
    let (harness, head) = (Harness::new()?, Harness::new()?.head()?);
    let git = harness.git()?;
    for remote in [harness.ssh()?, harness.https()?] {
        let (one, two) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let pick = Pick {
            reference: Some(server::BRANCH),
            ..pick(&remote, &head)
        };
        let first = git.read(pick, ".", Some("Dockerfile")).await?;
        git.checkout(pick, one.path()).await?;

        // The second time the server is not asked: it would refuse this login.
        let other = match remote.address.transport {
            Transport::Ssh => remote_of(SSH, &[("privateKey", "wrong")])?,
            Transport::Https => remote_of(HTTPS, &[("token", "wrong")])?,
        };
        let again = Pick {
            remote: &other,
            ..pick
        };
        assert_eq!(git.read(again, ".", Some("Dockerfile")).await?, first);
        git.checkout(again, two.path()).await?;

        assert!(first.tree.is_some() && !first.subject.is_empty());
        let dockerfile = std::fs::read(one.path().join("Dockerfile"))?;
        assert_eq!(first.file, Some(File::Content(dockerfile)));
        ensure!(one.path().join(".git").exists(), "the history is not there");
        output(Command::new("diff").args(["-r", &text(one.path()), &text(two.path())]))?;
        // A mirror is of one namespace and one Secret.
        let nobody = Remote {
            address: remote.address.clone(),
            login: Login::none(),
        };
        for (namespace, remote) in [("other", &other), ("test", &nobody)] {
            let pick = Pick {
                namespace,
                remote,
                ..pick
            };
            let refused = code(git.read(pick, ".", None).await);
            assert!(
                matches!(
                    refused,
                    Some(Code::GitOperationFailed | Code::HostKeyUnknown)
                ),
                "{refused:?}"
            );
        }
    }
    assert!(harness.is_clean());
    Ok(())
}

#[tokio::test]
async fn a_commit_that_does_not_exist_is_e1012_and_a_folder_that_does_not_has_no_tree() -> Result<()>
{
    let (harness, head) = (Harness::new()?, Harness::new()?.head()?);
    let (git, remote, folder) = (harness.git()?, harness.https()?, tempfile::tempdir()?);
    let unknown = "a".repeat(40);
    for reference in [None, Some(server::BRANCH), Some("gone")] {
        let pick = Pick {
            reference,
            ..pick(&remote, &unknown)
        };
        assert_eq!(
            code(git.read(pick, ".", None).await),
            Some(Code::CommitNotFound)
        );
        assert_eq!(
            code(git.checkout(pick, folder.path()).await),
            Some(Code::CommitNotFound)
        );
    }

    let snapshot = git
        .read(pick(&remote, &head), "no/such/folder", Some("Dockerfile"))
        .await?;
    assert_eq!((snapshot.tree, snapshot.file), (None, None));
    Ok(())
}

#[tokio::test]
async fn a_file_is_read_from_inside_its_folder_alone() -> Result<()> {
    let harness = Harness::new()?;
    let repository = Repository::new(
        &harness.layout,
        &[
            ("Dockerfile", "FROM x"),
            ("web/Dockerfile", "FROM x"),
            ("web/inside", "-> Dockerfile"),
            ("web/outside", "-> ../Dockerfile"),
            ("web/environ", "-> /proc/self/environ"),
            ("web/loop", "-> loop"),
            ("web/dangling", "-> none"),
            ("web/folder/x", "1"),
        ],
    )?;
    let git = harness.git()?;
    let remote = remote_of(&repository.url(), &[("token", &harness.secrets.git_token)])?;
    let commit = repository.commit("main", &[])?;

    let content = || File::Content(b"FROM x".to_vec());
    for (file, wanted) in [
        ("Dockerfile", content()),
        ("inside", content()),
        ("outside", File::Outside),
        ("environ", File::Outside),
        ("loop", File::Outside),
        ("dangling", File::Missing),
        ("folder", File::Missing),
        ("none", File::Missing),
        ("none/Dockerfile", File::Missing),
    ] {
        let found = git.read(pick(&remote, &commit), "web", Some(file)).await?;
        assert_eq!(found.file, Some(wanted), "{file}");
    }
    Ok(())
}

#[tokio::test]
async fn a_folder_has_the_same_tree_as_long_as_nothing_in_it_changes() -> Result<()> {
    let harness = Harness::new()?;
    let repository = Repository::new(
        &harness.layout,
        &[
            ("web/Dockerfile", "FROM scratch"),
            ("link", "-> web"),
            ("x", "1"),
        ],
    )?;
    let (git, remote) = (
        harness.git()?,
        remote_of(&repository.url(), &[("token", &harness.secrets.git_token)])?,
    );
    let tree = async |commit: &str, folder: &str| {
        anyhow::Ok(git.read(pick(&remote, commit), folder, None).await?.tree)
    };
    let first = repository.commit("main", &[("x", "2")])?;
    let second = repository.commit("main", &[("x", "3")])?;
    assert!(tree(&first, "web").await?.is_some());
    assert_eq!(tree(&first, "web").await?, tree(&second, "web").await?);
    assert_ne!(tree(&first, ".").await?, tree(&second, ".").await?);
    // A link is no folder, and a file is none.
    assert_eq!(
        (tree(&second, "link").await?, tree(&second, "x").await?),
        (None, None)
    );
    let moved = repository.commit("other", &[("x", "4")])?;
    assert_eq!(git.resolve(&remote, Some("other")).await?, moved);
    assert_eq!(git.resolve(&remote, None).await?, second);
    let pull = repository.commit("refs/pull/7/head", &[("x", "5")])?;
    assert_eq!(git.resolve(&remote, Some("refs/pull/7/head")).await?, pull);
    let (pick, into) = (
        Pick {
            reference: Some("refs/pull/7/head"),
            ..pick(&remote, &pull)
        },
        tempfile::tempdir()?,
    );
    git.checkout(pick, into.path()).await?;
    assert_eq!(std::fs::read_to_string(into.path().join("x"))?, "5");
    Ok(())
}

#[tokio::test]
async fn what_is_too_big_is_e1015() -> Result<()> {
    let (mut harness, head) = (Harness::new()?, Harness::new()?.head()?);
    let remote = harness.https()?;

    // Nothing is there yet that need not be fetched.
    for limits in [
        Limits {
            fetch: Duration::from_millis(1),
            ..Limits::default()
        },
        Limits {
            files: 1,
            ..Limits::default()
        },
        Limits {
            bytes: 100,
            ..Limits::default()
        },
    ] {
        harness.limits = limits;
        let into = tempfile::tempdir()?;
        let checked_out = harness
            .git()?
            .checkout(pick(&remote, &head), into.path())
            .await;
        assert_eq!(code(checked_out), Some(Code::SourceTooLarge));
    }

    Ok(())
}

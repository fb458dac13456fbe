//! git against the server that plays github.com.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
use data_encoding::BASE64;
use lab::layout::{Layout, text};
use lab::parts::git as server;
use lab::process::output;
use lab::secrets::Secrets;
use lab::testing::layout;
use sequencer_api::code::Code;
use sequencer_api::secret::AuthScheme;
use sequencer_builder::git::{
    Address, Error, File, Git, Limits, Login, Pick, Remote, Settings, Transport,
};
use sequencer_runtime::egress::{Args, EgressGuard};
use serde_json::json;
use tempfile::TempDir;

use crate::repository::Repository;

const SSH: &str = "git@github.com:myuser/myapp.git";
const HTTPS: &str = "https://github.com/myuser/myapp.git";

/// git with folders of its own.
struct Harness {
    layout: Layout,
    secrets: Secrets,
    folder: TempDir,
    limits: Limits,
    allowed: &'static str,
}

impl Harness {
    fn new() -> Result<Self> {
        let layout = layout()?;
        let secrets = Secrets::ensure(&layout)?;

        Ok(Self {
            layout,
            secrets,
            folder: tempfile::tempdir()?,
            limits: Limits::default(),
            allowed: "198.18.0.0/15",
        })
    }

    fn git(&self) -> Result<Git> {
        let folder = |name: &str| -> Result<PathBuf> {
            let path = self.folder.path().join(name);
            std::fs::create_dir_all(&path)?;
            Ok(path)
        };

        let args = Args {
            ca_bundle: Some(self.layout.ca_bundle()),
            egress_allowed: vec![self.allowed.parse()?],
        };

        let (data, logins, limits) = (folder("data")?, folder("logins")?, self.limits);
        let settings = Settings {
            data,
            logins,
            known_hosts: None,
            ca_bundle: args.ca_bundle.clone(),
            limits,
        };

        Ok(Git::new(settings, EgressGuard::new(&args)?))
    }

    fn key(&self) -> Result<String> {
        Ok(std::fs::read_to_string(server::deploy_key(&self.layout))?)
    }

    fn known_hosts(&self) -> Result<String> {
        server::known_hosts(&self.layout)
    }

    fn ssh(&self) -> Result<Remote> {
        remote_of(
            SSH,
            &[
                ("privateKey", &self.key()?),
                ("known_hosts", &self.known_hosts()?),
            ],
        )
    }

    fn https(&self) -> Result<Remote> {
        remote_of(HTTPS, &[("token", &self.secrets.git_token)])
    }

    /// The commit of the server's branch.
    fn head(&self) -> Result<String> {
        let repository = text(server::repository(&self.layout));
        let safe = format!("safe.directory={repository}");

        Ok(output(Command::new("git").args([
            "-c",
            &safe,
            "-C",
            &repository,
            "rev-parse",
            server::BRANCH,
        ]))?
        .trim()
        .into())
    }

    /// Nothing of a call is left in the folder of logins.
    fn is_clean(&self) -> bool {
        std::fs::read_dir(self.folder.path().join("logins"))
            .unwrap()
            .next()
            .is_none()
    }
}

fn remote_of(url: &str, keys: &[(&str, &str)]) -> Result<Remote> {
    let data: serde_json::Map<_, _> = keys
        .iter()
        .map(|(key, value)| ((*key).into(), json!(BASE64.encode(value.as_bytes()))))
        .collect();
    let secret: k8s_openapi::api::core::v1::Secret = serde_json::from_value(
        json!({"metadata": {"name": "git", "namespace": "test"}, "data": data}),
    )?;
    let (login, address) = Login::read(
        AuthScheme::Token,
        &secret.into(),
        &Address::parse(url).unwrap(),
    )?;
    Ok(Remote { address, login })
}

/// A commit of a repository, in the mirror of one namespace.
fn pick<'a>(remote: &'a Remote, commit: &'a str) -> Pick<'a> {
    Pick {
        namespace: "test",
        remote,
        commit,
        reference: None,
        depth: 1,
    }
}

fn code<T>(result: Result<T, Error>) -> Option<Code> {
    result.err().map(|error| error.code())
}

#[tokio::test]
async fn a_branch_a_full_ref_and_the_head_resolve_over_ssh_and_https() -> Result<()> {
    let (harness, head) = (Harness::new()?, Harness::new()?.head()?);
    let git = harness.git()?;
    let branch = format!("refs/heads/{}", server::BRANCH);

    for remote in [
        harness.ssh()?,
        harness.https()?,
        remote_of(SSH, &[("token", &harness.secrets.git_token)])?,
    ] {
        for reference in [
            Some(server::BRANCH),
            Some(branch.as_str()),
            Some(head.as_str()),
            None,
        ] {
            let found = git.resolve(&remote, reference).await?;
            ensure!(
                reference.is_none() || found == head,
                "{reference:?} is {found}"
            );
        }
        assert_eq!(
            code(git.resolve(&remote, Some("no-such-branch")).await),
            Some(Code::CommitNotFound)
        );
    }

    assert!(harness.is_clean());
    Ok(())
}

#[tokio::test]
async fn what_the_server_refuses_is_e1016_and_an_unknown_host_key_e1017() -> Result<()> {
    let harness = Harness::new()?;
    let git = harness.git()?;
    let (key, known) = (harness.key()?, harness.known_hosts()?);
    let other = text(harness.folder.path().join("key"));
    output(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &other]))?;
    let other = std::fs::read_to_string(other)?;

    for (url, keys, wanted) in [
        (
            SSH,
            vec![("privateKey", other.as_str()), ("known_hosts", &known)],
            Code::GitOperationFailed,
        ),
        (SSH, vec![("token", "wrong")], Code::GitOperationFailed),
        (HTTPS, vec![("token", "wrong")], Code::GitOperationFailed),
        (
            "https://github.com/myuser/other.git",
            vec![("token", &harness.secrets.git_token)],
            Code::GitOperationFailed,
        ),
        // The shipped key is the real github.com's.
        (SSH, vec![("privateKey", &key)], Code::HostKeyUnknown),
        // A Secret's entries win for the host that they name, also if they are wrong.
        (
            SSH,
            vec![
                ("privateKey", &key),
                ("known_hosts", include_str!("../../src/git/known_hosts")),
            ],
            Code::HostKeyUnknown,
        ),
    ] {
        let found = code(
            git.resolve(&remote_of(url, &keys)?, Some(server::BRANCH))
                .await,
        );
        assert_eq!(
            found,
            Some(wanted),
            "{url} with {:?}",
            keys.iter().map(|(key, _)| *key).collect::<Vec<_>>()
        );
    }

    let nobody = Remote {
        address: Address::parse(HTTPS).unwrap(),
        login: Login::none(),
    };

    assert_eq!(
        code(git.resolve(&nobody, None).await),
        Some(Code::GitOperationFailed)
    );
    assert!(harness.is_clean());
    Ok(())
}

#[tokio::test]
async fn a_key_with_a_passphrase_works() -> Result<()> {
    let harness = Harness::new()?;
    let locked = text(harness.folder.path().join("locked"));
    std::fs::copy(server::deploy_key(&harness.layout), &locked)?;
    output(Command::new("ssh-keygen").args(["-q", "-p", "-N", "pass phrase", "-f", &locked]))?;
    let (key, known) = (std::fs::read_to_string(locked)?, harness.known_hosts()?);
    let with = |passphrase| {
        remote_of(
            SSH,
            &[
                ("ssh-privatekey", &key),
                ("known_hosts", &known),
                ("passphrase", passphrase),
            ],
        )
    };

    let git = harness.git()?;
    assert_eq!(
        git.resolve(&with("pass phrase")?, Some(server::BRANCH))
            .await?,
        harness.head()?
    );
    assert_eq!(
        code(git.resolve(&with("wrong")?, None).await),
        Some(Code::SecretKeysInvalid)
    );
    Ok(())
}

#[tokio::test]
async fn a_private_address_is_e6037_before_anything_is_sent() -> Result<()> {
    let mut harness = Harness::new()?;
    harness.allowed = "10.0.0.0/8";
    for remote in [harness.ssh()?, harness.https()?] {
        assert_eq!(
            code(harness.git()?.resolve(&remote, None).await),
            Some(Code::AddressForbidden)
        );
    }

    Ok(())
}

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

#[tokio::test(flavor = "multi_thread")]
async fn no_process_shows_a_login_in_its_arguments_or_variables() -> Result<()> {
    let harness = Harness::new()?;
    let git = harness.git()?;
    let (token, done) = (
        "SEQCANARY-token",
        std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false)),
    );
    let forms = [
        token.to_owned(),
        BASE64.encode(format!("x-access-token:{token}").as_bytes()),
    ];
    let ends = std::sync::Arc::clone(&done);
    // Every process of this machine, over and over.
    let watch = std::thread::spawn(move || {
        let (mut seen, mut gits) = (Vec::new(), 0);

        while !ends.load(std::sync::atomic::Ordering::Relaxed) {
            for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
                let read = |file| {
                    String::from_utf8_lossy(
                        &std::fs::read(process.path().join(file)).unwrap_or_default(),
                    )
                    .into_owned()
                };

                let (arguments, variables) = (read("cmdline"), read("environ"));
                gits += usize::from(
                    arguments.contains("ls-remote") && variables.contains("GIT_CONFIG_GLOBAL"),
                );

                seen.extend(
                    forms
                        .iter()
                        .filter(|form| arguments.contains(*form) || variables.contains(*form))
                        .cloned(),
                );
            }
        }

        (seen, gits)
    });

    for _ in 0..5 {
        let refused = git
            .resolve(&remote_of(HTTPS, &[("token", token)])?, None)
            .await
            .unwrap_err();
        ensure!(
            !format!("{refused:?} {refused}").contains("SEQCANARY"),
            "{refused:?}"
        );
    }

    done.store(true, std::sync::atomic::Ordering::Relaxed);
    let (seen, gits) = watch.join().unwrap();
    ensure!(
        seen.is_empty() && gits > 0,
        "{seen:?} in {gits} looks at git"
    );
    assert!(harness.is_clean());
    Ok(())
}

#[tokio::test]
async fn what_is_too_big_is_e1015() -> Result<()> {
    let (mut harness, head) = (Harness::new()?, Harness::new()?.head()?);
    let remote = harness.https()?;

    for limits in [
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

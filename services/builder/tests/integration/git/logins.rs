//! What the server answers to which login, and that nobody else sees one.

use std::process::Command;

use anyhow::{Result, ensure};
use data_encoding::BASE64;
use lab::layout::text;
use lab::parts::git as server;
use lab::process::output;
use sequencer_api::code::Code;
use sequencer_builder::git::{Address, Login, Remote};

use super::{HTTPS, Harness, SSH, code, remote_of};

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
                ("known_hosts", include_str!("../../../src/git/known_hosts")),
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

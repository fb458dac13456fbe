//! The README's commands, word by word, on a cluster that knows nothing of Sequencer yet.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use lab::cluster::Cluster;
use lab::layout::text;
use lab::parts::{git, registry};
use lab::process::output;
use lab::progress::Progress;
use lab::release::{BUILDS, NAME, NAMESPACE};
use lab::sample;
use lab::secrets::Secrets;
use lab::testing::{command, layout, program};

use crate::examples::blocks;
use crate::shell::shell;

/// The blocks of a language and mark in a section of the README, one after the other.
fn section_text(cluster: &Cluster, title: &str, language: &str, mark: &str) -> Result<String> {
    let readme = std::fs::read_to_string(cluster.layout.repository.join("README.md"))?;
    let section = readme
        .split("\n## ")
        .find(|section| section.lines().next() == Some(title))
        .with_context(|| format!("no section {title}"))?;

    let blocks = blocks(section)?.into_iter();
    let text: String = blocks
        .filter(|block| block.is(language, mark))
        .map(|block| block.text)
        .collect();
    ensure!(!text.is_empty(), "{title} has no {language} {mark}");
    Ok(text)
}

/// Takes Sequencer away as its users do: what it made first.
fn uninstall(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&[
        "delete",
        "workspaces",
        "--all",
        "--all-namespaces",
        "--timeout=120s",
    ])?;

    output(cluster.helm().args([
        "uninstall",
        NAME,
        "--namespace",
        NAMESPACE,
        "--wait",
        "--timeout=3m",
    ]))?;

    cluster.kubectl(&[
        "delete",
        "namespace",
        NAMESPACE,
        BUILDS,
        "--ignore-not-found",
        "--timeout=120s",
    ])?;

    cluster
        .kubectl(&[
            "-n",
            "default",
            "delete",
            "secret",
            "cloudflare-api-token",
            "--ignore-not-found",
        ])
        .map(drop)
}

/// The files that the README speaks of: its own values, logins, and the sample with the account's
/// id.
fn provide_files(cluster: &Cluster, folder: &Path, values: &str) -> Result<()> {
    let (layout, secrets) = (&cluster.layout, Secrets::ensure(&cluster.layout)?);
    let write = |name: &str, content: &str| {
        let path = folder.join(name);
        std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))
    };

    write("values.yaml", values)?;
    for (file, content) in [
        ("dns-token", &secrets.cloudflare_token),
        ("tunnel-token", &secrets.cloudflare_token),
        ("hub-token", &secrets.hub_password),
        (
            "deploy-key",
            &std::fs::read_to_string(git::deploy_key(layout))?,
        ),
        ("ca.crt", &std::fs::read_to_string(layout.pki("ca.crt"))?),
        (
            "cluster.yaml",
            &std::fs::read_to_string(cluster.installed_values())?,
        ),
    ] {
        write(file, content)?;
    }

    symlink(layout.repository.join("charts"), folder.join("charts"))?;
    std::fs::create_dir_all(folder.join("services/api/samples"))?;
    let sample = std::fs::read_to_string(layout.repository.join(sample::FILE))?;
    write(
        sample::FILE,
        &sample.replace(sample::ACCOUNT, &secrets.cloudflare_account),
    )
}

/// What this cluster wants besides: its images, its certificate authority, and that nobody has to
/// watch.
fn adapted(script: &str) -> Result<String> {
    let mut script = script.to_owned();

    for (words, here) in [
        (
            "create namespace sequencer-system\n",
            "create namespace sequencer-system\nkubectl -n sequencer-system create configmap test-ca --from-file=ca.crt\n",
        ),
        (
            "--values values.yaml",
            "--values cluster.yaml --values values.yaml --wait",
        ),
        ("get workspaces --watch", "get workspaces"),
    ] {
        ensure!(
            script.matches(words).count() == 1,
            "the README does not say {words:?} once: {script}"
        );
        script = script.replace(words, here);
    }

    Ok(script)
}

#[test]
fn the_readme_leads_from_an_empty_cluster_to_a_preview_that_answers() -> Result<()> {
    let cluster = Cluster::new(layout()?);
    let section = |language| section_text(&cluster, "Quickstart", language, "quickstart");
    let (values, script) = (section("yaml")?, adapted(&section("sh")?)?);

    ensure!(
        script.contains(registry::HUB_USER),
        "the README logs somebody else in: {script}"
    );
    uninstall(&cluster)?;

    let folder = tempfile::tempdir()?;
    provide_files(&cluster, folder.path(), &values)?;
    output(&mut shell(&cluster, folder.path(), &script)?)?;

    let url = cluster.kubectl(&[
        "-n",
        NAMESPACE,
        "get",
        "workspaces",
        "-o",
        "jsonpath={.items[*].status.url}",
    ])?;
    let authority = text(cluster.layout.pki("ca.crt"));
    let answer = cluster.general.run(&[
        "curl", "-sS", "--fail", "-m", "10", "--cacert", &authority, &url,
    ])?;
    ensure!(answer.contains("mysql"), "{url} answers {answer}");
    // The others find the cluster as it was.
    uninstall(&cluster)?;
    output(&mut command(program()?, "up")?).map(drop)
}

/// `e2e/env` and `e2e/run` in a folder, as the checkout has them, of the program that runs already.
fn provide_verbs(folder: &Path) -> Result<()> {
    let script = format!(
        "#!/bin/sh\nexec '{}' \"${{0##*/}}\" \"$@\"\n",
        text(program()?)
    );
    std::fs::create_dir(folder.join("e2e"))?;

    for verb in ["env", "run"] {
        let file = folder.join("e2e").join(verb);
        std::fs::write(&file, &script)?;
        std::fs::set_permissions(file, Permissions::from_mode(0o755))?;
    }

    Ok(())
}

#[test]
fn the_readmes_commands_for_the_cluster_run() -> Result<()> {
    let cluster = Cluster::new(layout()?);
    let script = section_text(&cluster, "The cluster", "sh", "example")?;
    cluster.provide_sample(&Progress::default())?;

    let folder = tempfile::tempdir()?;
    provide_verbs(folder.path())?;
    let done = output(&mut shell(&cluster, folder.path(), &script)?);

    // What the page makes it deletes again, unless it fails before.
    cluster.kubectl(&["delete", "deployment", "redis", "--ignore-not-found"])?;
    let said = done?;
    ensure!(
        said.contains("\"mysql\": "),
        "no answer of the sample: {said}"
    );
    Ok(())
}

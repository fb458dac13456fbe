//! The shell of each page on the lab's cluster, block after block.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, ensure};
use lab::cluster::Cluster;
use lab::layout::text;
use lab::parts::name_server;
use lab::process::output;
use lab::release::{NAMESPACE, TENANTS};
use lab::secrets::Secrets;
use lab::testing::{Harness, layout};

use crate::examples::{Block, pages, read};
use crate::shell::shell;

/// The namespace that the pages speak of.
const TENANT: &str = TENANTS[0];

/// What the pages call their zone. The cluster serves another.
const ZONE: &str = "preview.example.com";

/// Each page with shell examples has a test below, the README one beside its quickstart's.
const TESTED: [&str; 9] = [
    "README.md",
    "build.md",
    "component.md",
    "conditions.md",
    "dnsrecord.md",
    "operations.md",
    "providers.md",
    "secrets.md",
    "workspace.md",
];

/// A page as the cluster is told of it.
struct Page {
    cluster: Cluster,
    blocks: Vec<Block>,
    folder: tempfile::TempDir,
}

impl Page {
    /// Reads a page of `docs` and writes the files that its shell names. What the page does in the
    /// namespace `of` is done in `namespace`.
    fn new(name: &str, of: &str, namespace: &str) -> Result<Self> {
        let cluster = Cluster::new(layout()?);
        let mut blocks = read(&cluster.layout.repository.join("docs").join(name))?;
        for block in &mut blocks {
            block.text = block
                .text
                .replace(ZONE, name_server::ZONE)
                .replace(&format!("-n {of} "), &format!("-n {namespace} "));
        }

        let page = Self {
            cluster,
            blocks,
            folder: tempfile::tempdir()?,
        };

        page.write_files()?;
        Ok(page)
    }

    fn write_files(&self) -> Result<()> {
        let write =
            |name: &str, content: &str| std::fs::write(self.folder.path().join(name), content);

        for login in [
            "deploy-key",
            "dns-token",
            "git-token",
            "registry-password",
            "tsig-secret",
        ] {
            write(login, "not-a-real-one")?;
        }

        for block in &self.blocks {
            if let Some(file) = block.file() {
                write(file, &block.text)?;
            }
        }

        Ok(())
    }

    /// Runs the shell of the page and deletes what it left behind.
    fn run(&self) -> Result<()> {
        let script: String = self
            .blocks
            .iter()
            .filter(|block| block.is("sh", "example"))
            .map(|block| block.text.as_str())
            .collect();
        ensure!(!script.is_empty(), "the page has no shell");

        let done = output(&mut shell(&self.cluster, self.folder.path(), &script)?);
        let left: Vec<_> = self.blocks.iter().filter_map(Block::file).collect();
        for file in left {
            let file = text(self.folder.path().join(file));
            self.cluster
                .kubectl(&["delete", "--ignore-not-found", "--timeout=3m", "-f", &file])?;
        }

        done.map(drop)
    }
}

/// Runs a page in the tenant's namespace, which has the Secrets of the sample.
fn run(name: &str) -> Result<()> {
    let page = Page::new(name, TENANT, TENANT)?;
    let secrets = Secrets::ensure(&page.cluster.layout)?;
    page.cluster.provide_sample_secrets(&secrets, TENANT)?;
    page.run()
}

#[test]
fn the_shell_of_build_runs() -> Result<()> {
    run("build.md")
}

#[test]
fn the_shell_of_component_runs() -> Result<()> {
    run("component.md")
}

#[test]
fn the_shell_of_conditions_runs() -> Result<()> {
    run("conditions.md")
}

#[test]
fn the_shell_of_dnsrecord_runs() -> Result<()> {
    run("dnsrecord.md")
}

#[test]
fn the_shell_of_operations_runs() -> Result<()> {
    run("operations.md")
}

#[test]
fn the_shell_of_providers_runs() -> Result<()> {
    // The release namespace has Secrets of these names that are real.
    let harness = Harness::new("docs-providers")?;
    Page::new("providers.md", NAMESPACE, &harness.namespace)?.run()
}

#[test]
fn the_shell_of_secrets_runs() -> Result<()> {
    // In a namespace of its own, so that its Secrets go.
    let harness = Harness::new("docs")?;
    Page::new("secrets.md", TENANT, &harness.namespace)?.run()
}

#[test]
fn the_shell_of_workspace_runs() -> Result<()> {
    run("workspace.md")
}

#[test]
fn every_page_with_shell_has_a_test() -> Result<()> {
    let mut with_shell = BTreeSet::new();

    for page in pages(&layout()?.repository)? {
        if read(&page)?.iter().any(|block| block.is("sh", "example")) {
            let name = page.file_name().map(Path::new).map(text);
            with_shell.extend(name);
        }
    }

    let tested = TESTED.map(ToOwned::to_owned).into();
    assert_eq!(with_shell, tested);
    Ok(())
}

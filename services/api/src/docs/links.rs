//! Links lead somewhere.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component as Part, Path, PathBuf};

use super::page::{Page, root};

/// The pages beside those in `docs`.
const OTHERS: [&str; 14] = [
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "SECURITY.md",
    "charts/sequencer/README.md",
    "proto/README.md",
    "services/api/README.md",
    "services/api/errors.md",
    "services/builder/README.md",
    "services/deployer/README.md",
    "services/network/README.md",
    "services/registry-pusher/README.md",
    "services/runtime/README.md",
    "services/watcher/README.md",
];

/// A path without `..`, seen from the folder of a page.
fn resolve(page: &str, link: &str) -> PathBuf {
    let folder = Path::new(page).parent().unwrap_or(Path::new(""));
    let mut path = PathBuf::new();

    for part in folder.join(link).components() {
        if part == Part::ParentDir {
            assert!(path.pop(), "{page}: {link} leaves the repository");
        } else {
            path.push(part);
        }
    }

    path
}

/// What is wrong with a link of a page.
fn broken(page: &Page, link: &str) -> Option<String> {
    if link.contains("://") {
        return None;
    }

    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let path = if file.is_empty() {
        PathBuf::from(&page.path)
    } else {
        resolve(&page.path, file)
    };

    if !root().join(&path).exists() {
        return Some(format!("{}: {link}: no such file", page.path));
    }

    if anchor.is_empty() {
        return None;
    }

    let target = Page::read(path.to_str().unwrap());
    let found = target.anchors().iter().any(|known| known == anchor);
    (!found).then(|| format!("{}: {link}: no such heading", page.path))
}

#[test]
fn every_relative_link_leads_to_a_file_and_a_heading() {
    let pages = OTHERS
        .iter()
        .map(|path| Page::read(path))
        .chain(Page::all());
    let mut all = 0;
    let broken: Vec<_> = pages
        .flat_map(|page| {
            let links = page.links();
            all += links.len();
            let broken = links.into_iter().filter_map(|link| broken(&page, link));
            broken.collect::<Vec<_>>()
        })
        .collect();

    assert!(all > 50, "only {all} links were found");
    assert_eq!(broken, Vec::<String>::new());
}

#[test]
fn the_readme_leads_to_every_page() {
    let readme = Page::read("README.md");
    let links = readme.links();
    for page in Page::all() {
        assert!(links.contains(&page.path.as_str()), "{}", page.path);
    }
}

#[test]
fn every_path_of_the_readmes_tree_exists() {
    let readme = Page::read("README.md");
    let tables = readme.tables();
    let paths: Vec<_> = tables
        .iter()
        .flat_map(|table| table.column("path"))
        .collect();
    assert!(paths.len() > 10, "{paths:?}");
    for path in paths {
        assert!(root().join(path).exists(), "{path}");
    }
}

#[test]
fn every_verb_of_the_readme_can_be_executed() {
    let readme = Page::read("README.md");
    let tables = readme.tables();
    let verbs: BTreeSet<_> = tables
        .iter()
        .flat_map(|table| table.column("command"))
        .filter_map(|command| command.split_once("e2e/"))
        .map(|(_, verb)| verb.split(|c: char| !c.is_ascii_lowercase()).next())
        .map(Option::unwrap_or_default)
        .collect();
    let known = [
        "bench", "build", "down", "env", "run", "status", "test", "up",
    ];
    assert_eq!(verbs, known.into());

    for verb in verbs {
        let file = root().join("e2e").join(verb);
        let metadata = file.metadata().unwrap();
        let executable = metadata.permissions().mode() & 0o111 != 0;
        assert!(metadata.is_file() && executable, "{}", file.display());
    }
}

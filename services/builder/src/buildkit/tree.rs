//! The files of a context in the order and form in which BuildKit wants them.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use bollard_buildkit_proto::fsutil::types::Stat;

use super::pattern::{Malformed, Patterns, clean};

/// Bits of Go's FileMode.
const GO_DIRECTORY: u32 = 1 << 31;
const GO_SYMLINK: u32 = 1 << 27;

/// What BuildKit asks for.
#[derive(Debug, Default)]
pub(super) struct Wish {
    pub(super) include: Vec<String>,
    pub(super) exclude: Vec<String>,
    /// Paths with the links on them, and what those lead to.
    pub(super) follow: Vec<String>,
}

/// A context's folder, looked at through a wish.
pub(super) struct Tree {
    root: PathBuf,
    include: Patterns,
    exclude: Patterns,
}

/// Where a walk is.
struct Walk<'a> {
    /// Folders on the way that are listed only if something in them is.
    pending: Vec<Stat>,
    tell: &'a mut dyn FnMut(Stat) -> io::Result<()>,
}

impl Tree {
    pub(super) fn new(root: &Path, wish: &Wish) -> Result<Self, Malformed> {
        let mut include = wish.include.clone();

        if !wish.follow.is_empty() {
            include.extend(followed(root, &wish.follow));
        }

        // The root is wanted: all is.
        let include = if include.iter().any(|path| clean(path).is_empty()) {
            Vec::new()
        } else {
            include
        };

        Ok(Self {
            root: root.into(),
            include: Patterns::new(include)?,
            exclude: Patterns::new(&wish.exclude)?,
        })
    }

    /// Tells every entry, a folder before what is in it, names in the order of their bytes.
    pub(super) fn walk(&self, tell: &mut dyn FnMut(Stat) -> io::Result<()>) -> io::Result<()> {
        self.folder(
            "",
            &mut Walk {
                pending: Vec::new(),
                tell,
            },
        )
    }

    fn folder(&self, path: &str, walk: &mut Walk<'_>) -> io::Result<()> {
        let mut names = Vec::new();

        for entry in fs::read_dir(self.root.join(path))? {
            let name = entry?.file_name();
            names.push(
                name.into_string()
                    .map_err(|_name| io::Error::other("a file's name is no UTF-8"))?,
            );
        }

        names.sort_unstable();
        for name in names {
            let path = if path.is_empty() {
                name
            } else {
                format!("{path}/{name}")
            };
            self.entry(&path, walk)?;
        }

        Ok(())
    }

    fn entry(&self, path: &str, walk: &mut Walk<'_>) -> io::Result<()> {
        let full = self.root.join(path);
        let found = fs::symlink_metadata(&full)?;
        let wanted = self.include.is_empty() || self.include.matches(path);
        let excluded = self.exclude.matches(path);
        let Some(stat) = stat(path, &full, &found)? else {
            return Ok(());
        };

        let listed = wanted && !excluded;
        if listed {
            for folder in walk.pending.drain(..) {
                (walk.tell)(folder)?;
            }
            (walk.tell)(stat.clone())?;
        }

        let goes_on = (wanted || self.include.may_match_below(path))
            && (!excluded || self.exclude.may_except_below(path));
        if found.is_dir() && goes_on {
            if !listed {
                walk.pending.push(stat);
            }

            self.folder(path, walk)?;
            if !listed {
                // It was listed with something in it, or is not listed at all.
                walk.pending.pop();
            }
        }

        Ok(())
    }
}

/// As Go's fsutil tells a file; nothing for what is neither file, folder nor link.
fn stat(path: &str, full: &Path, found: &Metadata) -> io::Result<Option<Stat>> {
    let mut stat = Stat {
        path: path.into(),
        mod_time: found
            .mtime()
            .saturating_mul(1_000_000_000)
            .saturating_add(found.mtime_nsec()),
        ..Stat::default()
    };

    // git knows only whether a file is executable: who checked it out, and as what, must not
    // matter.
    let kind = found.file_type();
    if kind.is_dir() {
        stat.mode = GO_DIRECTORY | 0o755;
    } else if kind.is_symlink() {
        let target = fs::read_link(full)?.into_os_string().into_string();
        stat.mode = GO_SYMLINK | 0o777;
        stat.linkname = target.map_err(|_name| io::Error::other("a link's target is no UTF-8"))?;
    } else if kind.is_file() {
        stat.mode = if found.mode() & 0o111 == 0 {
            0o644
        } else {
            0o755
        };
        stat.size = i64::try_from(found.len()).unwrap_or(i64::MAX);
    } else {
        return Ok(None);
    }

    Ok(Some(stat))
}

/// Whether the content of an entry can be asked for.
pub(super) fn is_file(stat: &Stat) -> bool {
    stat.mode & (GO_DIRECTORY | GO_SYMLINK) == 0
}

/// The paths, the links on them, and what those lead to inside the root.
fn followed(root: &Path, paths: &[String]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for path in paths {
        follow(root, &clean(path), &mut found);
    }
    found
}

fn follow(root: &Path, path: &str, found: &mut BTreeSet<String>) {
    let parts: Vec<_> = path.split('/').collect();
    for end in 1..=parts.len() {
        let (here, rest) = parts.split_at(end);
        let here = here.join("/");
        let links = links(root, &here);
        if links.is_empty() {
            if rest.is_empty() {
                found.insert(here);
            }
            continue;
        }

        if !found.insert(here) {
            return;
        }

        for target in links {
            follow(root, &clean(&format!("{target}/{}", rest.join("/"))), found);
        }

        return;
    }
}

/// What the links at a path lead to; its last part may be a pattern.
fn links(root: &Path, path: &str) -> Vec<String> {
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let target = |name: &str| {
        let target = fs::read_link(root.join(folder).join(name))
            .ok()?
            .into_os_string()
            .into_string()
            .ok()?;
        Some(if target.starts_with('/') {
            clean(&target)
        } else {
            clean(&format!("{folder}/{target}"))
        })
    };

    if !name.contains(['*', '?', '[']) {
        return target(name).into_iter().collect();
    }

    let (Ok(pattern), Ok(entries)) = (Patterns::new([name]), fs::read_dir(root.join(folder)))
    else {
        return Vec::new();
    };

    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names
        .filter(|name| pattern.matches(name))
        .filter_map(|name| target(&name))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        folder
    }

    fn listed(root: &Path, wish: &Wish) -> Vec<String> {
        let mut paths = Vec::new();
        Tree::new(root, wish)
            .unwrap()
            .walk(&mut |stat| {
                paths.push(stat.path);
                Ok(())
            })
            .unwrap();
        paths
    }

    fn strings(all: &[&str]) -> Vec<String> {
        all.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn a_folder_is_told_before_what_is_in_it_and_before_names_that_begin_like_it() {
        let folder = folder(&["a/b", "a-c", "a.d", "z"]);
        assert_eq!(
            listed(folder.path(), &Wish::default()),
            ["a", "a/b", "a-c", "a.d", "z"]
        );
    }

    #[test]
    fn what_is_excluded_is_not_told_but_its_exceptions_are_with_their_folders() {
        let folder = folder(&["a/b/keep", "a/b/drop", "c/x", ".git/config"]);
        let wish = Wish {
            exclude: strings(&["a", "!a/b/keep", ".git"]),
            ..Wish::default()
        };

        assert_eq!(
            listed(folder.path(), &wish),
            ["a", "a/b", "a/b/keep", "c", "c/x"]
        );
    }

    #[test]
    fn only_what_is_followed_is_told_with_what_its_links_lead_to() {
        let folder = folder(&["real/Dockerfile", "other", "real/more"]);
        symlink("real/Dockerfile", folder.path().join("Dockerfile")).unwrap();
        symlink("../../../other", folder.path().join("real/up")).unwrap();
        symlink("loop", folder.path().join("loop")).unwrap();
        let wish = |paths: &[&str]| Wish {
            follow: strings(paths),
            ..Wish::default()
        };
        assert_eq!(
            listed(folder.path(), &wish(&["Dockerfile", "none"])),
            ["Dockerfile", "real", "real/Dockerfile"]
        );
        assert_eq!(
            listed(folder.path(), &wish(&["real/up"])),
            ["other", "real", "real/up"]
        );
        assert_eq!(listed(folder.path(), &wish(&["loop"])), ["loop"]);
        assert_eq!(
            listed(folder.path(), &wish(&["real/m*"])),
            ["real", "real/more"]
        );
        assert_eq!(listed(folder.path(), &wish(&["/"])).len(), 7);
    }

    #[test]
    fn modes_are_gos_and_those_that_git_knows() {
        let folder = folder(&["d/run", "d/plain"]);
        fs::set_permissions(
            folder.path().join("d/run"),
            fs::Permissions::from_mode(0o700),
        )
        .unwrap();
        fs::set_permissions(
            folder.path().join("d/plain"),
            fs::Permissions::from_mode(0o600),
        )
        .unwrap();
        symlink("x", folder.path().join("link")).unwrap();
        let mut modes = Vec::new();
        Tree::new(folder.path(), &Wish::default())
            .unwrap()
            .walk(&mut |stat| {
                modes.push((stat.path, stat.mode, stat.uid, stat.gid));
                Ok(())
            })
            .unwrap();

        let wanted = [
            ("d", 0x8000_01ed),
            ("d/plain", 0o644),
            ("d/run", 0o755),
            ("link", 0x0800_01ff),
        ];

        assert_eq!(
            modes,
            wanted.map(|(path, mode)| (path.to_owned(), mode, 0, 0))
        );
    }
}

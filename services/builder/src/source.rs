//! The source of a Build: its imports in one folder, and its Dockerfile, which must be in there.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use sequencer_api::BuildSpec;
use sequencer_api::status::component::SourceImport;
use tempfile::TempDir;

use crate::credentials::Reader;
use crate::error::Error;
use crate::git::{self, Git, Pick};
use crate::key::{plain, within};

/// The most bytes of a Dockerfile (BuildKit's own limit).
const LONGEST: u64 = 2 * 1024 * 1024;

/// Everything that was imported. The folder goes with the value.
#[derive(Debug)]
pub(crate) struct Source {
    _folder: TempDir,
    /// The folder that the Dockerfile may copy from.
    pub(crate) context: PathBuf,
    /// The Dockerfile, relative to it.
    pub(crate) dockerfile: String,
    /// What stands in it.
    pub(crate) content: Vec<u8>,
    /// The commits.
    pub(crate) imports: Vec<SourceImport>,
    /// Where the trees of the context are in it, and which they are.
    pub(crate) trees: Vec<(String, String)>,
    /// The git logins, which no log may show.
    pub(crate) hidden: Vec<secrecy::SecretString>,
}

/// Fetches the imports of a Build into a new folder.
pub(crate) async fn fetch(
    git: &Git,
    folder: &Path,
    namespace: &str,
    spec: &BuildSpec,
    reader: &Reader<'_>,
) -> Result<Source, Error> {
    let root = TempDir::with_prefix_in("build-", folder).map_err(Error::Files)?;
    let (context, mut dockerfile) = (plain(&spec.context), plain(&spec.dockerfile));
    let (mut imports, mut trees, mut hidden) = (Vec::new(), Vec::new(), Vec::new());
    for import in &spec.import_content {
        let Some(wanted) = &import.content_from.git else { continue };
        let about = |error: git::Error| Error::Git { url: wanted.url.clone(), error };
        for (asked, name) in [(wanted.submodules, "git.submodules"), (wanted.lfs, "git.lfs")] {
            if asked {
                return Err(about(git::Error::Unsupported(name)));
            }
        }
        let remote = reader.remote(import).await?;
        let commit = match &wanted.commit {
            Some(commit) => commit.clone(),
            None => git.resolve(&remote, wanted.reference.as_deref()).await.map_err(about)?,
        };
        let (path, depth) = (plain(&import.path), u32::try_from(wanted.depth).unwrap_or(1));
        let part = within(&context, &path);
        let interesting = part.as_ref().map_or(".", |(folder, _)| folder);
        let pick = Pick { commit: &commit, reference: wanted.reference.as_deref(), depth };
        let into = root.path().join(&path);
        let fetched = git.fetch(namespace, &remote, pick, interesting, &into).await.map_err(about)?;
        if let Some((_, at)) = part {
            let tree = fetched.tree.ok_or_else(|| Error::NoFile(format!("the folder {context}")))?;
            trees.push((at, tree));
        }
        hidden.extend(remote.login.hidden());
        let (url, reference, subject) = (wanted.url.clone(), wanted.reference.clone(), Some(fetched.subject));
        imports.push(SourceImport { path: import.path.clone(), url, reference, commit, subject });
    }
    let (at, name) = (root.path().to_owned(), spec.dockerfile.clone());
    let (context_path, wanted) = (root.path().join(&context), std::mem::take(&mut dockerfile));
    let content = read_beneath(&at, &context, &wanted, &name)?;
    Ok(Source { _folder: root, context: context_path, dockerfile: wanted, content, imports, trees, hidden })
}

/// The Dockerfile: no link on the way may lead out of the context, and the context itself is no link.
fn read_beneath(root: &Path, context: &str, dockerfile: &str, name: &str) -> Result<Vec<u8>, Error> {
    let beneath = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let told = |path: &str, error: Errno| match error {
        Errno::EXDEV | Errno::ELOOP => Error::Leaves(path.into()),
        Errno::ENOENT | Errno::ENOTDIR => Error::NoFile(path.into()),
        other => Error::Files(io::Error::from(other)),
    };
    let folder = OFlag::O_PATH | OFlag::O_DIRECTORY;
    let root = open(AT_FDCWD, root, folder, ResolveFlag::empty()).map_err(|error| told(context, error))?;
    let context_fd = open(&root, Path::new(context), folder, beneath | ResolveFlag::RESOLVE_NO_SYMLINKS);
    let context_fd = context_fd.map_err(|error| told(context, error))?;
    let file = open(&context_fd, Path::new(dockerfile), OFlag::O_RDONLY | OFlag::O_NONBLOCK, beneath);
    let file = File::from(file.map_err(|error| told(name, error))?);
    if !file.metadata().map_err(Error::Files)?.is_file() {
        return Err(Error::NoFile(name.into()));
    }
    let mut content = Vec::new();
    file.take(LONGEST).read_to_end(&mut content).map_err(Error::Files)?;
    Ok(content)
}

fn open(at: impl AsFd, path: &Path, flags: OFlag, resolve: ResolveFlag) -> nix::Result<OwnedFd> {
    openat2(at, path, OpenHow::new().flags(flags | OFlag::O_CLOEXEC).resolve(resolve))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use sequencer_api::code::Code;

    use super::*;

    fn code(folder: &Path, context: &str, dockerfile: &str) -> Option<Code> {
        read_beneath(folder, context, dockerfile, dockerfile).err().map(|error| error.code())
    }

    #[test]
    fn a_dockerfile_is_read_only_from_inside_the_context() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir(path("web")).unwrap();
        for name in ["Dockerfile", "web/Dockerfile"] {
            std::fs::write(path(name), "FROM x").unwrap();
        }
        symlink("Dockerfile", path("web/inside")).unwrap();
        symlink("../Dockerfile", path("web/outside")).unwrap();
        symlink("/proc/self/environ", path("web/environ")).unwrap();
        symlink("web", path("link")).unwrap();
        symlink("loop", path("web/loop")).unwrap();
        for name in ["Dockerfile", "inside"] {
            assert_eq!(read_beneath(folder.path(), "web", name, name).unwrap(), b"FROM x");
        }
        for name in ["outside", "environ", "loop"] {
            assert_eq!(code(folder.path(), "web", name), Some(Code::LEAVES_TREE), "{name}");
        }
        assert_eq!(code(folder.path(), "link", "Dockerfile"), Some(Code::LEAVES_TREE));
        for (context, name) in [("web", "none"), ("none", "Dockerfile"), (".", "web")] {
            assert_eq!(code(folder.path(), context, name), Some(Code::NO_DOCKERFILE), "{context}/{name}");
        }
    }
}

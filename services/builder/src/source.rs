//! The source of a Build: what its imports hold, read from git without writing a file, and the
//! folder with all their files for the build itself.

use std::path::{Path, PathBuf};

use sequencer_api::BuildSpec;
use sequencer_api::build::{self as spec, ImportContent};
use sequencer_api::status::component::SourceImport;
use tempfile::TempDir;

use crate::credentials::Reader;
use crate::error::Error;
use crate::git::{self, File, Git, Pick, Remote};
use crate::key::{below, plain, within};

/// What a Build is made from: enough for its content key, and to check its files out.
#[derive(Debug)]
pub(crate) struct Source {
    /// The folder that the Dockerfile may copy from, relative to the root of all imports.
    context: String,
    /// The Dockerfile, relative to the context.
    pub(crate) dockerfile: String,
    /// The content of the Dockerfile.
    pub(crate) content: Vec<u8>,
    /// Where the trees of the context are in it, and which they are.
    pub(crate) trees: Vec<(String, String)>,
    pub(crate) imports: Vec<Import>,
}

/// One import at its commit.
#[derive(Debug)]
pub(crate) struct Import {
    /// What the status tells of it.
    pub(crate) recorded: SourceImport,
    /// Its folder, relative to the root of all imports.
    path: String,
    remote: Remote,
    depth: u32,
}

/// The files of a Source. They go with the value.
#[derive(Debug)]
pub(crate) struct Checkout {
    _folder: TempDir,
    /// The folder that the Dockerfile may copy from.
    pub(crate) context: PathBuf,
}

/// Reads the imports of a Build: their commits, the trees in the context and the Dockerfile.
pub(crate) async fn read(
    git: &Git,
    namespace: &str,
    spec: &BuildSpec,
    reader: &Reader,
) -> Result<Source, Error> {
    let (context, dockerfile) = (plain(&spec.context), plain(&spec.dockerfile));
    let (mut imports, mut trees, mut found) = (Vec::new(), Vec::new(), File::Missing);

    for import in &spec.import_content {
        let mut import = Import::resolve(git, import, reader).await?;
        let part = within(&context, &import.path);
        let folder = part.as_ref().map_or(".", |(folder, _)| folder);
        let file = part.as_ref().and_then(|(_, at)| below(&dockerfile, at));

        let snapshot = git
            .read(import.pick(namespace), folder, file.as_deref())
            .await
            .map_err(|error| import.failed(error))?;

        import.recorded.subject = Some(snapshot.subject);
        if let Some((_, at)) = part {
            let missing = || Error::NoFile(format!("the folder {context}"));
            trees.push((at, snapshot.tree.ok_or_else(missing)?));
        }

        if let Some(file) = snapshot.file {
            found = file;
        }

        imports.push(import);
    }

    let content = match found {
        File::Content(content) => content,
        File::Missing => return Err(Error::NoFile(spec.dockerfile.clone())),
        File::Outside => return Err(Error::Leaves(spec.dockerfile.clone())),
    };

    Ok(Source {
        context,
        dockerfile,
        content,
        trees,
        imports,
    })
}

/// The repository that an import names.
pub(crate) fn wanted(import: &ImportContent) -> Result<&spec::Git, Error> {
    let git = import.content_from.git.as_ref();
    git.ok_or_else(|| Error::NoSource(import.path.clone()))
}

impl Source {
    /// What the status tells of the imports.
    pub(crate) fn recorded(&self) -> Vec<SourceImport> {
        self.imports
            .iter()
            .map(|import| import.recorded.clone())
            .collect()
    }

    /// The git logins, which no log may show.
    pub(crate) fn hidden(&self) -> Vec<secrecy::SecretString> {
        self.imports
            .iter()
            .flat_map(|import| import.remote.login.hidden())
            .collect()
    }

    /// Puts the files of all imports into a new folder below `work`.
    pub(crate) async fn checkout(
        &self,
        git: &Git,
        work: &Path,
        namespace: &str,
    ) -> Result<Checkout, Error> {
        let folder = TempDir::with_prefix_in("build-", work).map_err(Error::Files)?;

        for import in &self.imports {
            git.checkout(import.pick(namespace), &folder.path().join(&import.path))
                .await
                .map_err(|error| import.failed(error))?;
        }

        Ok(Checkout {
            context: folder.path().join(&self.context),
            _folder: folder,
        })
    }
}

impl Import {
    /// The import with its login and commit.
    async fn resolve(git: &Git, import: &ImportContent, reader: &Reader) -> Result<Self, Error> {
        let wanted = wanted(import)?;
        let failed = |error| Error::Git {
            url: wanted.url.clone(),
            error,
        };

        for (asked, name) in [
            (wanted.submodules, "git.submodules"),
            (wanted.lfs, "git.lfs"),
        ] {
            if asked {
                return Err(failed(git::Error::Unsupported(name)));
            }
        }

        let remote = reader.remote(wanted, import.credentials.as_ref()).await?;
        let commit = match &wanted.commit {
            Some(commit) => commit.clone(),
            None => git
                .resolve(&remote, wanted.reference.as_deref())
                .await
                .map_err(failed)?,
        };

        Ok(Self {
            recorded: SourceImport {
                path: import.path.clone(),
                url: wanted.url.clone(),
                reference: wanted.reference.clone(),
                commit,
                subject: None,
            },
            path: plain(&import.path),
            remote,
            depth: u32::try_from(wanted.depth).unwrap_or(1),
        })
    }

    fn pick<'a>(&'a self, namespace: &'a str) -> Pick<'a> {
        Pick {
            namespace,
            remote: &self.remote,
            commit: &self.recorded.commit,
            reference: self.recorded.reference.as_deref(),
            depth: self.depth,
        }
    }

    fn failed(&self, error: git::Error) -> Error {
        Error::Git {
            url: self.recorded.url.clone(),
            error,
        }
    }
}

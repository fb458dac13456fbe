//! The images of the cluster: built once by BuildKit, kept in the cache as OCI layouts under a key
//! of what they are made from, and pushed to the registry that plays Docker Hub.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::cache::{Key, cached};
use crate::install::debian;
use crate::layout::{Layout, text};
use crate::namespace::Namespace;
use crate::part::{Part, Ready};
use crate::process::logged;

/// An image, and what its Dockerfile finds beside itself.
#[derive(Debug)]
pub struct Image {
    /// The folder in `e2e/images`.
    pub folder: &'static str,
    /// Its names on Docker Hub.
    pub names: &'static [&'static str],
    /// Debian packages of its `root.tar`, pinned by upstream version; none for an image without
    /// one.
    packages: &'static [&'static str],
    /// What is done to that root file system at the end.
    hooks: &'static [&'static str],
    /// Programs, found by their names in the folder of programs.
    programs: &'static [&'static str],
    /// Whether it trusts the test CA by itself, as `ca.crt`: for what nobody configures.
    trusts: bool,
}

/// The image of one of Sequencer's services, packed as `docker/Dockerfile` says.
#[derive(Debug)]
pub struct ServiceImage {
    pub name: &'static str,
}

/// What the builder needs besides its program; ssh refuses to work for a user without a name.
const BUILDER_PACKAGES: &[&str] = &[
    "ca-certificates=2*",
    "git=1:2.39.*",
    "git-lfs=3.3.*",
    "openssh-client=1:9.2*",
];
const BUILDER_HOOKS: &[&str] = &[
    "chroot \"$1\" groupadd --gid 65532 builder",
    "chroot \"$1\" useradd --uid 65532 --gid 65532 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin builder",
];
/// The machine's certificate authorities.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

const BUILDKIT_HOOKS: &[&str] = &[
    // In a pod the setuid bit is not enough to write a uid_map; the file capability is.
    "chmod u-s \"$1\"/usr/bin/newuidmap \"$1\"/usr/bin/newgidmap",
    "chroot \"$1\" setcap cap_setuid=ep /usr/bin/newuidmap",
    "chroot \"$1\" setcap cap_setgid=ep /usr/bin/newgidmap",
    "chroot \"$1\" useradd --uid 1000 --create-home --home-dir /home/user user",
    "ln -s runc \"$1\"/usr/sbin/buildkit-runc",
    "mkdir -p \"$1\"/run/user/1000 \"$1\"/home/user/.local/tmp \"$1\"/home/user/.local/share/buildkit",
    "chown -R 1000:1000 \"$1\"/run/user/1000 \"$1\"/home/user",
];

/// Every image of the cluster.
pub const IMAGES: [Image; 10] = [
    Image::program("pause", &["library/pause:latest"], &["pause"]),
    Image::program("coredns", &["library/coredns:latest"], &["coredns"]),
    Image::program("traefik", &["library/traefik:latest"], &["traefik"]),
    Image::program(
        "nats",
        &["library/nats:latest", "library/nats:2.15.2"],
        &["nats-server"],
    ),
    Image::program(
        "registry",
        &["library/registry:3", "library/registry:3.0.0"],
        &["registry"],
    ),
    Image::root(
        "redis",
        &["library/redis:latest"],
        &["redis-server=5:7.0.*"],
        &["chroot \"$1\" install -d -o redis -g redis /data"],
    ),
    Image::root(
        "mysql",
        &["library/mysql:latest"],
        &["mariadb-server=1:10.11.*"],
        &["chroot \"$1\" sh -c 'rm -rf /var/lib/mysql/* && chown mysql:mysql /var/lib'"],
    ),
    Image::root(
        "app-base",
        &["library/app-base:bookworm"],
        &[
            "ca-certificates=2*",
            "git=1:2.39.*",
            "python3=3.11.*",
            "python3-pymysql=1.0.*",
            "python3-redis=4.3.*",
        ],
        &[],
    ),
    Image {
        folder: "buildkit",
        names: &["moby/buildkit:rootless", "moby/buildkit:v0.28.1-rootless"],
        packages: &[
            "ca-certificates=2*",
            "fuse-overlayfs=1.10*",
            "libcap2-bin=1:2.66*",
            "runc=1.1.5*",
            "uidmap=1:4.13*",
        ],
        hooks: BUILDKIT_HOOKS,
        programs: &["buildkitd", "buildctl", "rootlesskit"],
        trusts: false,
    },
    Image {
        trusts: true,
        ..Image::program(
            "cloudflared",
            &["cloudflare/cloudflared:latest"],
            &["cloudflared"],
        )
    },
];

impl Image {
    const fn program(
        folder: &'static str,
        names: &'static [&'static str],
        programs: &'static [&'static str],
    ) -> Self {
        Self {
            folder,
            names,
            packages: &[],
            hooks: &[],
            programs,
            trusts: false,
        }
    }

    const fn root(
        folder: &'static str,
        names: &'static [&'static str],
        packages: &'static [&'static str],
        hooks: &'static [&'static str],
    ) -> Self {
        Self {
            folder,
            names,
            packages,
            hooks,
            programs: &[],
            trusts: false,
        }
    }

    /// The image's OCI layout, from the cache or built now; `builder` runs a BuildKit below it
    /// while that is needed.
    ///
    /// # Errors
    /// A root file system or the image cannot be built.
    pub fn layout(&self, layout: &Layout, builder: &Namespace) -> Result<PathBuf> {
        let source = layout.repository.join("e2e/images").join(self.folder);
        let mut inputs = Vec::new();

        if !self.packages.is_empty() {
            inputs.push(Input::file(debian::root(
                layout,
                self.folder,
                self.packages,
                self.hooks,
            )?)?);
        }

        for program in self.programs {
            inputs.push(Input::program(layout, program)?);
        }

        let mut key = Key::default()
            .folder(&source)?
            .words(inputs.iter().map(|input| text(&input.path)));

        if self.trusts {
            // Its path says nothing: every state folder has a CA of its own.
            key = key.words([std::fs::read_to_string(layout.pki("ca.crt"))?]);
            inputs.push(Input::file(layout.pki("ca.crt"))?);
        }

        Context {
            name: self.folder,
            source: &source,
            inputs: &inputs,
            arguments: &[],
        }
        .layout(layout, builder, key)
    }
}

impl ServiceImage {
    /// The image's OCI layout, from the cache or built now; `builder` runs a BuildKit below it
    /// while that is needed.
    ///
    /// # Errors
    /// A root file system or the image cannot be built.
    pub fn layout(&self, layout: &Layout, builder: &Namespace) -> Result<PathBuf> {
        let source = layout.repository.join("docker");
        let mut inputs = vec![
            Input::program(layout, self.name)?,
            Input::file(AUTHORITIES.into())?,
        ];
        let mut arguments = vec![("PROGRAM", "given"), ("SERVICE", self.name)];
        if self.name == "builder" {
            inputs.push(Input::file(debian::root(
                layout,
                self.name,
                BUILDER_PACKAGES,
                BUILDER_HOOKS,
            )?)?);
            arguments.push(("BASE", "git"));
        }
        let key = Key::default()
            .folder(&source)?
            .words(inputs.iter().map(|input| text(&input.path)))
            .bytes(&std::fs::read(AUTHORITIES)?);
        Context {
            name: self.name,
            source: &source,
            inputs: &inputs,
            arguments: &arguments,
        }
        .layout(layout, builder, key)
    }
}

/// A file that is put beside the Dockerfile.
struct Input {
    /// By which name the Dockerfile copies it.
    name: OsString,
    path: PathBuf,
}

impl Input {
    /// A program, by the name that it has on the cluster: it may have been built by another.
    fn program(layout: &Layout, name: &str) -> Result<Self> {
        let path = layout.bin(name);
        let path = path
            .canonicalize()
            .with_context(|| format!("there is no program {}", path.display()))?;

        Ok(Self {
            name: name.into(),
            path,
        })
    }

    fn file(path: PathBuf) -> Result<Self> {
        let name = path.file_name().context("a file without a name")?;
        Ok(Self {
            name: name.into(),
            path,
        })
    }
}

/// What an image is built from: a folder with a Dockerfile, files that are put beside it, and
/// arguments.
struct Context<'a> {
    name: &'a str,
    source: &'a Path,
    inputs: &'a [Input],
    arguments: &'a [(&'a str, &'a str)],
}

impl Context<'_> {
    /// The OCI layout in the cache, built now unless it is there.
    fn layout(&self, layout: &Layout, builder: &Namespace, key: Key) -> Result<PathBuf> {
        cached(&layout.cache, "images", self.name, key, |half| {
            builder.supervisor.start(buildkitd(layout)?)?;
            let context = half.join("context");
            std::fs::create_dir(&context)?;
            for entry in std::fs::read_dir(self.source)? {
                let entry = entry?;
                std::fs::copy(entry.path(), context.join(entry.file_name()))?;
            }

            for input in self.inputs {
                let placed = context.join(&input.name);
                // A link where cache and state are on one disk.
                if std::fs::hard_link(&input.path, &placed).is_err() {
                    std::fs::copy(&input.path, &placed)?;
                }
            }

            self.build(layout, builder, &context, &half.join("oci"))?;
            Ok(std::fs::remove_dir_all(&context)?)
        })
        .map(|made| made.join("oci"))
    }

    fn build(
        &self,
        layout: &Layout,
        builder: &Namespace,
        context: &Path,
        into: &Path,
    ) -> Result<()> {
        let context = text(context);
        let program = text(layout.bin("buildctl"));
        let options =
            "type=oci,tar=false,compression=zstd,oci-mediatypes=true,rewrite-timestamp=true";
        let output = format!("{options},dest={}", text(into));
        let mut argv = vec![
            program,
            "--addr".into(),
            format!("unix://{SOCKET}"),
            "build".into(),
            "--progress=plain".into(),
            "--frontend=dockerfile.v0".into(),
            format!("--local=context={context}"),
            format!("--local=dockerfile={context}"),
            "--opt=build-arg:SOURCE_DATE_EPOCH=0".into(),
            format!("--output={output}"),
        ];
        argv.extend(
            self.arguments
                .iter()
                .map(|(name, value)| format!("--opt=build-arg:{name}={value}")),
        );
        let words: Vec<_> = argv.iter().map(String::as_str).collect();
        logged(&mut builder.command(&words)?, &log(layout, self.name))
    }
}

/// Where the output of an image's build goes.
#[must_use]
pub fn log(layout: &Layout, name: &str) -> PathBuf {
    layout.logs().join(format!("image-{name}.log"))
}

/// The BuildKit that builds the cluster's own images, in the first node's namespace. It ends when
/// they are built.
fn buildkitd(layout: &Layout) -> Result<Part> {
    let args = [
        "--root".into(),
        text(layout.data("buildkit")),
        "--addr".into(),
        format!("unix://{SOCKET}"),
        "--oci-worker-binary=/usr/sbin/runc".into(),
    ];
    std::fs::create_dir_all(layout.data("buildkit"))?;
    Ok(Part::new(
        BUILDKITD,
        layout.bin("buildkitd"),
        args,
        Ready::Socket(SOCKET.into()),
    ))
}

const BUILDKITD: &str = "buildkitd";
const SOCKET: &str = "/run/buildkit.sock";

/// Ends the BuildKit that built images if it was needed, and removes what it kept.
///
/// # Errors
/// It cannot be ended.
pub fn end_building(layout: &Layout, builder: &Namespace) -> Result<()> {
    if builder
        .supervisor
        .list()?
        .iter()
        .any(|part| part.name == BUILDKITD)
    {
        builder.supervisor.stop(BUILDKITD, 10)?;
    }

    if layout.data("buildkit").exists() {
        std::fs::remove_dir_all(layout.data("buildkit"))?;
    }

    Ok(())
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    digest: String,
}

/// Pushes an OCI layout under these names, unless the registry has it.
///
/// # Errors
/// The layout is broken, or the registry refuses it.
pub fn push(
    layout: &Layout,
    node: &Namespace,
    names: &[impl AsRef<str>],
    oci: &Path,
) -> Result<()> {
    let index: Index = serde_json::from_slice(&std::fs::read(oci.join("index.json"))?)?;
    let [manifest] = index.manifests.as_slice() else {
        bail!("{} holds more than one image", oci.display())
    };
    let crane = text(layout.bin("crane"));
    for name in names {
        let reference = format!("registry-1.docker.io/{}", name.as_ref());
        let there = node
            .run(&[&crane, "digest", &reference])
            .unwrap_or_default();
        if there.trim() != manifest.digest {
            let mut push = node.command(&[&crane, "push", &text(oci), &reference])?;
            push.env("DOCKER_CONFIG", layout.etc().join("publisher"));
            logged(&mut push, &layout.logs().join("push.log"))?;
        }
    }
    Ok(())
}

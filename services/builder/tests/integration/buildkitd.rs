//! A BuildKit of a test's own, and a folder to build from.

use std::path::{Path, PathBuf};

use anyhow::Result;
use lab::alone::Alone;
use lab::layout::text;
use lab::part::{Part, Ready};
use lab::testing::layout;

/// BuildKit on a socket of its own. Its names are the cluster's, as the tests' are.
pub(crate) struct Buildkitd {
    pub(crate) alone: Alone,
    socket: PathBuf,
}

impl Buildkitd {
    pub(crate) fn start() -> Result<Self> {
        let layout = layout()?;
        let mut alone = Alone::new(&layout)?;
        let socket = alone.folder().join("sockets/buildkitd.sock");
        let config = alone.folder().join("etc/buildkitd.toml");

        // As the chart has it.
        std::fs::write(
            &config,
            "insecure-entitlements = []\n[frontend.\"gateway.v0\"]\nenabled = false\n",
        )?;

        let args = [
            format!("--config={}", text(&config)),
            format!("--root={}", text(alone.folder().join("data/buildkit"))),
            format!("--addr=unix://{}", text(&socket)),
            "--oci-worker-net=host".into(),
            "--oci-worker-snapshotter=native".into(),
        ];
        let part = Part::new(
            "buildkitd",
            layout.bin("buildkitd"),
            args,
            Ready::Socket(socket.clone()),
        );
        alone.start(&part.env("SSL_CERT_FILE", text(layout.ca_bundle())))?;
        Ok(Self { alone, socket })
    }

    pub(crate) fn address(&self) -> String {
        format!("unix://{}", text(&self.socket))
    }

    pub(crate) fn log(&self) -> Result<String> {
        Ok(std::fs::read_to_string(
            self.alone.folder().join("logs/buildkitd.log"),
        )?)
    }
}

/// Writes these files into a folder.
pub(crate) fn write(folder: &Path, files: &[(&str, &str)]) -> Result<()> {
    for (name, content) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(folder))?;
        std::fs::write(path, content)?;
    }
    Ok(())
}

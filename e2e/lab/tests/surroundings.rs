//! Bad surroundings get a clear message, and nothing is changed.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use lab::layout::text;
use lab::testing::layout;
use tempfile::TempDir;

/// A machine's view of its own: a folder for state and cache, and a shell line that runs in new
/// namespaces first.
struct Machine {
    folder: TempDir,
}

impl Machine {
    fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
        Ok(Self { folder })
    }

    fn path(&self, name: &str) -> String {
        text(self.folder.path().join(name))
    }

    /// Runs `up` after `before`, in mount and network namespaces of its own with an empty /run, and
    /// returns what it said when it failed, and then what it left in /run and in the state folder
    /// as it saw them.
    fn fail(&self, before: &str) -> Result<String> {
        let state = self.path("state");
        let after = format!(
            "code=$?; echo \"left: $(find /run/sequencer* {state}/* 2>/dev/null)\" >&2; exit $code"
        );
        let script = format!(
            "mount -t tmpfs tmpfs /run && {before} && {} up; {after}",
            env!("CARGO_BIN_EXE_lab")
        );
        let mut up = Command::new("unshare");
        up.args([
            "--net",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            &script,
        ]);
        up.env("SEQUENCER_E2E_REPOSITORY", layout()?.repository);
        up.env("SEQUENCER_E2E_STATE", self.path("state"))
            .env("SEQUENCER_E2E_CACHE", self.path("cache"));
        // No registry's answer is remembered from earlier, and nobody is asked twice.
        up.env("GOMODCACHE", self.path("modules"))
            .env("PIP_RETRIES", "1")
            .env("PIP_NO_CACHE_DIR", "1");

        let done = up.output()?;
        ensure!(!done.status.success(), "up succeeded");
        Ok(String::from_utf8_lossy(&done.stderr).into_owned())
    }

    fn is_untouched(&self) -> bool {
        !Path::new(&self.path("state")).exists() && !Path::new(&self.path("cache")).exists()
    }
}

#[test]
fn without_root_it_says_so() -> Result<()> {
    let machine = Machine::new()?;
    std::fs::copy(layout()?.repository.join("e2e/up"), machine.path("up"))?;

    let done = Command::new("setpriv")
        .args(["--reuid=65534", "--clear-groups", &machine.path("up")])
        .output()?;
    let said = String::from_utf8_lossy(&done.stderr);

    ensure!(
        !done.status.success() && said.contains("needs root") && said.contains("sudo"),
        "{said}"
    );
    Ok(())
}

#[test]
fn without_rust_it_says_so() -> Result<()> {
    let machine = Machine::new()?;

    for program in ["sh", "id", "basename", "dirname"] {
        std::os::unix::fs::symlink(Path::new("/usr/bin").join(program), machine.path(program))?;
    }

    let done = Command::new(layout()?.repository.join("e2e/up"))
        .env("PATH", machine.folder.path())
        .output()?;
    let said = String::from_utf8_lossy(&done.stderr);

    ensure!(
        !done.status.success() && said.contains("Rust is missing") && said.contains("rustup"),
        "{said}"
    );
    Ok(())
}

#[test]
fn an_address_that_is_taken_is_named_and_nothing_changes() -> Result<()> {
    let machine = Machine::new()?;
    let said = machine.fail("ip link set lo up && ip addr add 198.18.5.1/24 dev lo")?;

    ensure!(
        said.contains("198.18.5.1/24") && said.contains("taken") && said.ends_with("left: \n"),
        "{said}"
    );
    ensure!(machine.is_untouched(), "something was written: {said}");
    Ok(())
}

#[test]
fn a_full_disk_is_named_with_what_is_needed_and_nothing_changes() -> Result<()> {
    let machine = Machine::new()?;
    let state = machine.path("state");
    let said = machine.fail(&format!(
        "mkdir {state} && mount -t tmpfs -o size=64m tmpfs {state}"
    ))?;

    ensure!(
        said.contains(&state) && said.contains("GiB free") && said.contains("SEQUENCER_E2E_STATE"),
        "{said}"
    );
    ensure!(said.ends_with("left: \n"), "something was written: {said}");
    ensure!(
        !Path::new(&machine.path("cache")).exists(),
        "the cache was written: {said}"
    );
    Ok(())
}

#[test]
fn a_registry_that_does_not_answer_is_named_and_leaves_nothing_half_made() -> Result<()> {
    let machine = Machine::new()?;
    let said = machine.fail("true")?;
    ensure!(
        said.contains("package registry did not answer") && said.contains("log"),
        "{said}"
    );
    let made: Vec<_> = walkdir::WalkDir::new(machine.path("cache"))
        .min_depth(2)
        .into_iter()
        .collect();
    ensure!(made.is_empty(), "the cache has {made:?}");
    ensure!(
        !Path::new(&machine.path("state/sockets/general")).exists(),
        "a supervisor was started"
    );
    Ok(())
}

#[test]
fn a_machine_that_is_held_says_by_whom() -> Result<()> {
    let machine = Machine::new()?;
    let own = layout()?;
    let mut up = Command::new(env!("CARGO_BIN_EXE_lab"));
    up.arg("up")
        .env("SEQUENCER_E2E_STATE", machine.path("state"))
        .env("SEQUENCER_E2E_CACHE", machine.path("cache"));

    let done = up
        .env("SEQUENCER_E2E_REPOSITORY", machine.folder.path())
        .output()?;
    let said = String::from_utf8_lossy(&done.stderr);

    ensure!(
        !done.status.success()
            && said.contains(&format!(
                "SEQUENCER_E2E_STATE={} {}/e2e/down",
                own.state.display(),
                own.repository.display()
            )),
        "{said}"
    );
    ensure!(machine.is_untouched(), "something was written: {said}");
    Ok(())
}

//! The supervisor with real processes, in a pid namespace of their own: what a build leaves behind
//! is gone after it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use lab::until::until;
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

/// The supervisor as the first process of a pid namespace, with a daemon that stands in for
/// BuildKit.
struct Container {
    folder: TempDir,
    unshare: Child,
}

/// A connection to the supervisor, or to the daemon.
struct Line(BufReader<UnixStream>);

impl Line {
    fn say(&mut self, words: &str) -> Result<()> {
        Ok(self
            .0
            .get_mut()
            .write_all(format!("{words}\n").as_bytes())?)
    }

    /// The next line; empty at the end.
    fn hear(&mut self) -> Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        Ok(line.trim_end().into())
    }
}

impl Container {
    fn start(more: &[&str]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("daemon.py"), include_str!("daemon.py"))?;
        let mut unshare = Command::new("unshare");
        // As root of a user namespace, or without one as root.
        unshare.args([
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
            "--",
            env!("CARGO_BIN_EXE_builder"),
            "supervise",
        ]);
        unshare.args([
            "--builder-uid=0",
            "--listen",
            &path("supervisor.sock"),
            "--daemon-socket",
            &path("daemon.sock"),
        ]);
        unshare.args(more).args([
            "--",
            "python3",
            &path("daemon.py"),
            &path("daemon.sock"),
            "2",
        ]);
        let unshare = unshare.stdin(Stdio::null()).spawn()?;
        Ok(Self { folder, unshare })
    }

    fn connect(&self, socket: &str) -> Result<Line> {
        let path = self.folder.path().join(socket);
        until(&format!("{socket} answers"), PATIENCE, || {
            let stream = UnixStream::connect(&path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            Ok(Line(BufReader::new(stream)))
        })
    }

    fn lease(&self, namespace: &str) -> Result<(Line, String)> {
        let mut line = self.connect("supervisor.sock")?;
        line.say(&format!("lease {namespace}"))?;
        let answer = line.hear()?;
        Ok((line, answer))
    }

    /// A build that ends well, and runs this step; says whether its BuildKit was fresh.
    fn build(&self, namespace: &str, step: &str) -> Result<String> {
        let (mut lease, answer) = self.lease(namespace)?;
        ensure!(self.run(step)? == "ran", "the step did not end");
        lease.say("built")?;
        Ok(answer)
    }

    /// Runs a step; empty if the daemon did not survive it.
    fn run(&self, step: &str) -> Result<String> {
        let mut line = self.connect("daemon.sock")?;
        line.say(step)?;
        // A daemon that is killed hangs up, or resets.
        Ok(line.hear().unwrap_or_default())
    }

    /// The pid of the supervisor, outside its namespace.
    fn first(&self) -> Result<String> {
        let children = format!("/proc/{0}/task/{0}/children", self.unshare.id());
        Ok(std::fs::read_to_string(children)?
            .split_whitespace()
            .next()
            .context("it ended")?
            .into())
    }

    /// The command lines of what lives in the namespace, but for the supervisor.
    fn living(&self) -> Result<Vec<String>> {
        let first = self.first()?;
        let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid"));
        let ours = namespace(&first)?;
        let mut living = Vec::new();

        for entry in std::fs::read_dir("/proc")? {
            let pid = entry?.file_name().to_string_lossy().into_owned();
            if pid != first && namespace(&pid).is_ok_and(|theirs| theirs == ours) {
                // One that is over has none.
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                living.extend(
                    (!line.is_empty()).then(|| String::from_utf8_lossy(&line).replace('\0', " ")),
                );
            }
        }

        Ok(living)
    }

    fn has_ended(&mut self) -> Result<bool> {
        Ok(self.unshare.try_wait()?.is_some())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        drop(self.unshare.kill());
        drop(self.unshare.wait());
    }
}

#[test]
fn a_build_of_the_same_namespace_keeps_buildkit_and_one_of_another_gets_its_own() -> Result<()> {
    let container = Container::start(&[])?;
    let answers = ["a", "a", "b", "b", "a"].map(|namespace| container.build(namespace, "true"));
    let answers = answers.into_iter().collect::<Result<Vec<_>>>()?;
    assert_eq!(answers, ["fresh", "kept", "fresh", "kept", "fresh"]);
    Ok(())
}

#[test]
fn nothing_that_a_build_started_lives_on_after_it() -> Result<()> {
    let container = Container::start(&[])?;
    // In a session of its own; as a child of a child; with its first thread gone; with another
    // user's rights.
    let threads = "import ctypes, os, threading, time; threading.Thread(target=time.sleep, args=(4712,)).start(); \
                   ctypes.CDLL(None).syscall({'x86_64': 60, 'aarch64': 93}[os.uname().machine], 0)";

    for step in [
        "setsid sleep 4711 >/dev/null 2>&1 &".to_owned(),
        "(sleep 4711 & sleep 4711) >/dev/null 2>&1 &".into(),
        format!("python3 -c \"{threads}\" >/dev/null 2>&1 & sleep 1"),
        "setpriv --reuid 65534 --clear-groups sleep 4711 >/dev/null 2>&1 &".into(),
    ] {
        container.build("a", &step)?;
        assert_eq!(container.build("a", "true")?, "fresh", "{step}");
        let living = container.living()?;
        ensure!(
            living.len() == 3 && living.iter().all(|line| line.contains("daemon.py")),
            "{step}: {living:?}"
        );
        assert_eq!(container.build("a", "true")?, "kept", "{step}");
    }

    Ok(())
}

#[test]
fn a_build_that_failed_or_was_given_up_leaves_nothing_under_way() -> Result<()> {
    let container = Container::start(&[])?;

    for word in [Some("failed"), None] {
        let (mut lease, _) = container.lease("a")?;
        if let Some(word) = word {
            lease.say(word)?;
        }
        drop(lease);
        assert_eq!(container.build("a", "true")?, "fresh", "{word:?}");
    }

    Ok(())
}

#[test]
fn a_buildkit_that_ends_is_told_of_and_is_back_for_the_next_build() -> Result<()> {
    let container = Container::start(&[])?;

    for step in ["kill -KILL DAEMON", "kill -TERM DAEMON", "kill -KILL -1"] {
        let (mut lease, _) = container.lease("a")?;
        container.run(step)?;
        assert_eq!(lease.hear()?, "lost", "{step}");
        drop(lease);
        assert_eq!(container.build("a", "true")?, "fresh", "{step}");
    }

    // Also if nobody builds, and before anybody asks.
    let daemon = container.living()?.len();
    container.run("kill -KILL DAEMON")?;
    until("it is back", PATIENCE, || {
        ensure!(
            container.run("true")? == "ran" && container.living()?.len() == daemon,
            "it is not"
        );
        Ok(())
    })
}

#[test]
fn a_buildkit_that_was_stopped_is_replaced() -> Result<()> {
    let container = Container::start(&[])?;
    let (mut lease, _) = container.lease("a")?;
    // Nobody answers any more, so this one does not wait.
    let mut line = container.connect("daemon.sock")?;
    line.say("kill -STOP DAEMON")?;
    until("it is stopped", PATIENCE, || {
        let stopped = Command::new("pgrep")
            .args(["--runstates", "T", "-f"])
            .arg(container.folder.path())
            .output()?;
        ensure!(stopped.status.success(), "it is not");
        Ok(())
    })?;
    lease.say("built")?;
    assert_eq!(container.build("a", "true")?, "fresh");
    Ok(())
}

#[test]
fn builds_wait_for_each_other_unless_they_may_share() -> Result<()> {
    let container = Container::start(&[])?;
    let (mut first, _) = container.lease("a")?;
    let mut second = container.connect("supervisor.sock")?;
    second.say("lease a")?;
    second
        .0
        .get_ref()
        .set_read_timeout(Some(Duration::from_millis(500)))?;
    ensure!(second.hear().is_err(), "two builds at once");
    second.0.get_ref().set_read_timeout(Some(PATIENCE))?;
    first.say("built")?;
    assert_eq!(second.hear()?, "kept");

    let shared = Container::start(&["--shared-processes"])?;
    let (mut first, _) = shared.lease("a")?;
    let (mut second, _) = shared.lease("b")?;

    [&mut first, &mut second]
        .into_iter()
        .try_for_each(|lease| lease.say("built"))?;
    // It was nobody's own.
    assert_eq!(shared.build("a", "true")?, "fresh");
    Ok(())
}

#[test]
fn only_the_kubelet_ends_it() -> Result<()> {
    let mut container = Container::start(&[])?;
    assert_eq!(container.build("a", "true")?, "fresh");
    for signal in ["TERM", "INT", "KILL", "STOP", "HUP", "SEGV", "CHLD"] {
        assert_eq!(
            container.build("a", &format!("kill -{signal} 1"))?,
            "kept",
            "{signal}"
        );
    }

    // A signal that is queued may name any sender, also none.
    let forged = "import ctypes, os, struct; info = ctypes.create_string_buffer(128); \
                  struct.pack_into('iii', info, 0, 15, 0, -1); \
                  number = {'x86_64': 129, 'aarch64': 138}[os.uname().machine]; \
                  raise SystemExit(ctypes.CDLL(None).syscall(number, 1, 15, info))";

    assert_eq!(
        container.build(
            "a",
            &format!("python3 -c \"{forged}\" || kill -KILL DAEMON")
        )?,
        "kept"
    );
    assert_eq!(container.build("a", "true")?, "kept");
    let first = container.first()?;
    ensure!(
        Command::new("kill")
            .args(["-TERM", &first])
            .status()?
            .success(),
        "{first} is not there"
    );

    until("it ends", PATIENCE, || {
        ensure!(container.has_ended()?, "it has not");
        Ok(())
    })?;
    assert!(container.unshare.wait()?.success());
    Ok(())
}

#[test]
fn outside_a_namespace_of_its_own_it_does_not_start() -> Result<()> {
    let mut supervise = Command::new(env!("CARGO_BIN_EXE_builder"));
    supervise.args([
        "supervise",
        "--listen=/nonexistent/a",
        "--daemon-socket=/nonexistent/b",
        "--",
        "true",
    ]);
    let output = supervise.output()?;
    if output.status.success() {
        bail!("it would have killed everything");
    }
    let output = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.contains("first process"), "{output}");
    Ok(())
}

#[test]
fn it_is_installed_as_a_program_that_runs() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let installed: PathBuf = folder.path().join("builder");
    let install = Command::new(env!("CARGO_BIN_EXE_builder"))
        .arg("install")
        .arg(folder.path())
        .status()?;
    ensure!(install.success(), "{install}");
    let launched = Command::new(installed)
        .args(["launch", "--", "sh", "-c", "echo $0", "here"])
        .output()?;
    assert_eq!(String::from_utf8_lossy(&launched.stdout), "here\n");
    Ok(())
}

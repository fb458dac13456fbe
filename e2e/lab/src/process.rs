//! Running other programs to their end.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::layout::text;

/// The file of the program that runs. A build may have put a newer one there since it was started,
/// and Linux says so in the name (proc(5), `/proc/pid/exe`).
///
/// # Errors
/// The system does not know.
pub fn this_program() -> Result<PathBuf> {
    let file = std::env::current_exe()?;
    let replaced = file
        .to_str()
        .and_then(|file| file.strip_suffix(" (deleted)"));
    Ok(replaced.map_or_else(|| file.clone(), PathBuf::from))
}

/// Runs a command to its end and returns what it printed.
///
/// # Errors
/// It cannot be started, or it fails; the text has what it printed.
pub fn output(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {shown}"))?;
    done(&shown, output)
}

/// Runs a command to its end with this on its stdin, and returns what it printed.
///
/// # Errors
/// As [`output`].
pub fn fed(command: &mut Command, input: &str) -> Result<String> {
    let shown = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {shown}"))?;
    child
        .stdin
        .take()
        .context("no stdin")?
        .write_all(input.as_bytes())?;
    done(&shown, child.wait_with_output()?)
}

fn done(shown: &str, output: Output) -> Result<String> {
    if !output.status.success() {
        let printed = [output.stdout, output.stderr].concat();
        bail!(
            "{shown} ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&printed).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command that may take minutes, its output in `log`.
///
/// # Errors
/// It cannot be started, or it fails; the text has the log's last lines, and says so where a
/// registry did not answer.
pub fn logged(command: &mut Command, log: &Path) -> Result<()> {
    let output = File::options().create(true).append(true).open(log)?;
    // Whatever is told about a failure is told from this run's lines only.
    let before = output.metadata()?.len();
    let shown = text(command.get_program());
    let status = command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .status()
        .with_context(|| format!("cannot start {shown}"))?;
    if status.success() {
        return Ok(());
    }

    let printed = tail_after(log, before);
    let silent = [
        "onnection refused",
        "imed out",
        "imeout",
        "o such host",
        "ould not resolve",
        "emporary failure",
        "is unreachable",
    ];
    if silent.iter().any(|sign| printed.contains(sign)) {
        bail!(
            "a package registry did not answer; look at this machine's network and proxy settings, then run it again\n{printed}"
        );
    }

    bail!("{shown} ended with {status}\n{printed}")
}

/// A command that reads nothing and whose output nobody wants.
#[must_use]
pub fn silent(argv: &[String]) -> Option<Command> {
    let (program, args) = argv.split_first()?;
    let mut command = Command::new(program);
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Some(command)
}

/// The last lines of a log, indented, for people.
#[must_use]
pub fn tail(log: &Path) -> String {
    tail_after(log, 0)
}

/// The same of what stands behind this many bytes.
fn tail_after(log: &Path, bytes: u64) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = text
        .get(usize::try_from(bytes).unwrap_or(usize::MAX)..)
        .unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    let lines: Vec<_> = text.lines().collect();
    let from = lines.len().saturating_sub(15);
    let mut shown: Vec<_> = lines
        .iter()
        .skip(from)
        .map(|line| format!("    {line}"))
        .collect();
    shown.push(format!("    (all of it: {})", log.display()));
    shown.join("\n")
}

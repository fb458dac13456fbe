//! How much of the CPU was taken: by this process, by what it started, and by what lives below a
//! supervisor.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::{SysconfVar, sysconf};

/// What this process and its children that have ended took, user and system.
#[must_use]
pub fn of_this_process() -> Duration {
    [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN]
        .into_iter()
        .filter_map(|who| getrusage(who).ok())
        .flat_map(|usage| [usage.user_time(), usage.system_time()])
        .filter_map(|time| {
            let micros = time.tv_sec() * 1_000_000 + time.tv_usec();
            u64::try_from(micros).ok()
        })
        .map(Duration::from_micros)
        .sum()
}

/// What a process, everything that it started, and their children that have ended took. Nothing if
/// it does not live.
#[must_use]
pub fn of_tree(root: i32) -> Duration {
    let processes = below(root);
    let ticks: u64 = processes.iter().map(|process| process.ticks).sum();
    let per_second = sysconf(SysconfVar::CLK_TCK)
        .ok()
        .flatten()
        .and_then(|ticks| u64::try_from(ticks).ok())
        .unwrap_or(100);
    Duration::from_millis(ticks * 1_000 / per_second)
}

/// The processes of a name among a process and everything that it started. A name has at most 15
/// characters (proc_pid_comm(5)).
#[must_use]
pub fn named_below(root: i32, name: &str) -> Vec<i32> {
    let processes = below(root).into_iter();
    let named = processes.filter(|process| process.name == name);
    named.map(|process| process.pid).collect()
}

/// The resident memory of a process in bytes, or nothing if it does not live
/// (proc_pid_status(5): `VmRSS`).
#[must_use]
pub fn resident(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kibibytes
        .and_then(|number| number.trim().parse::<u64>().ok())
        .unwrap_or_default()
        * 1024
}

/// A process and everything that it started.
fn below(root: i32) -> Vec<Process> {
    let processes: Vec<_> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| std::fs::read_to_string(entry.ok()?.path().join("stat")).ok())
        .filter_map(|stat| Process::parse(&stat))
        .collect();
    let parents: BTreeMap<_, _> = processes
        .iter()
        .map(|process| (process.pid, process.parent))
        .collect();
    let is_below = |process: &Process| {
        let pid = Some(process.pid);
        std::iter::successors(pid, |pid| parents.get(pid).copied()).any(|pid| pid == root)
    };
    processes.into_iter().filter(is_below).collect()
}

/// A line of `/proc/PID/stat` (proc_pid_stat(5)).
#[derive(Debug, PartialEq, Eq)]
struct Process {
    pid: i32,
    name: String,
    parent: i32,
    /// User and system time of it and of its children that have ended, in clock ticks.
    ticks: u64,
}

impl Process {
    /// The second field is the program's name in parentheses, which may hold anything.
    fn parse(stat: &str) -> Option<Self> {
        let (pid, rest) = stat.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        let fields: Vec<_> = rest.split(' ').collect();
        let times = fields.get(11..15)?;

        Some(Self {
            pid: pid.parse().ok()?,
            name: name.into(),
            parent: fields.get(1)?.parse().ok()?,
            ticks: times
                .iter()
                .filter_map(|time| time.parse::<u64>().ok())
                .sum(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let stat = "42 (a) b (c) S 7 42 42 0 -1 4194560 100 200 0 0 10 20 300 4000 20 0 1 0";
        assert_eq!(
            Process::parse(stat),
            Some(Process {
                pid: 42,
                name: "a) b (c".into(),
                parent: 7,
                ticks: 4330
            })
        );
        assert_eq!(Process::parse("42"), None);
    }

    #[test]
    fn a_child_counts_while_it_lives_and_after() {
        let spin = "i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done";
        let own = i32::try_from(std::process::id()).unwrap();
        let (before, tree) = (of_this_process(), of_tree(own));
        let mut child = std::process::Command::new("sh")
            .args(["-c", &format!("{spin}; read -r _")])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        crate::until::until("the child works", Duration::from_secs(30), || {
            anyhow::ensure!(of_tree(own) > tree, "not yet");
            Ok(())
        })
        .unwrap();
        let shell = i32::try_from(child.id()).unwrap();
        assert_eq!(named_below(own, "sh"), [shell]);
        assert!(resident(shell) > 0);
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(of_this_process() > before);
    }
}

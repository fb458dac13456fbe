//! The processes of the pid namespace, as /proc shows them, and which of them builds left behind.
//! Pure, but for the reading.

use std::collections::BTreeSet;
use std::io;

use nix::errno::Errno;

/// The first process of the namespace, which is this one.
const FIRST: i32 = 1;

/// A process, distinguished from a later one of the same number.
pub(super) type Identity = (i32, u64);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    /// 0 if it was started from outside the namespace, as the kubelet does.
    pub(super) parent: i32,
    state: char,
    threads: u32,
    started: u64,
    /// At most 15 characters of its own choice. Its arguments may be secret; nobody reads them
    /// here.
    pub(super) name: String,
}

impl Process {
    /// From `/proc/<pid>/stat`.
    fn parse(stat: &str) -> Option<Self> {
        let (pid, rest) = stat.split_once(" (")?;
        // A name may hold anything, also parentheses.
        let (name, rest) = rest.rsplit_once(") ")?;
        let fields: Vec<_> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number.checked_sub(3)?).copied();

        Some(Self {
            pid: pid.parse().ok()?,
            parent: field(4)?.parse().ok()?,
            state: field(3)?.chars().next()?,
            threads: field(20)?.parse().ok()?,
            started: field(22)?.parse().ok()?,
            name: name.chars().filter(|c| !c.is_control()).collect(),
        })
    }

    pub(super) fn identity(&self) -> Identity {
        (self.pid, self.started)
    }

    /// Whether anything of it runs, or may. Where the first thread ended before others, the process
    /// looks like one that is over, and is none.
    fn is_alive(&self) -> bool {
        !matches!(self.state, 'Z' | 'X' | 'x') || self.threads > 1
    }

    /// Whether somebody keeps it from running.
    fn is_stopped(&self) -> bool {
        matches!(self.state, 'T' | 't')
    }

    /// Whether it came from inside the namespace and runs.
    fn counts(&self) -> bool {
        self.pid != FIRST && self.parent != 0 && self.is_alive()
    }
}

/// Every process of the namespace.
pub(super) fn all() -> io::Result<Vec<Process>> {
    let mut found = Vec::new();

    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        if !entry
            .file_name()
            .as_encoded_bytes()
            .iter()
            .all(u8::is_ascii_digit)
        {
            continue;
        }

        let stat = match std::fs::read(entry.path().join("stat")) {
            Ok(stat) => stat,
            // It ended meanwhile.
            Err(error) if gone(&error) => continue,
            Err(error) => return Err(error),
        };

        let parsed = Process::parse(&String::from_utf8_lossy(&stat));
        found.push(parsed.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?);
    }

    Ok(found)
}

fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::ESRCH as i32)
}

/// Who they are, but for this process: before the first build, the daemon's own.
pub(super) fn identities(all: &[Process]) -> BTreeSet<Identity> {
    all.iter()
        .filter(|process| process.counts())
        .map(Process::identity)
        .collect()
}

/// Those that are neither this process nor the daemon's own. What the kubelet or a person started
/// from outside is no build's.
pub(super) fn leftovers(all: Vec<Process>, own: &BTreeSet<Identity>) -> Vec<Process> {
    all.into_iter()
        .filter(|process| process.counts() && !own.contains(&process.identity()))
        .collect()
}

/// Whether one of the daemon's own was stopped, or is traced.
pub(super) fn is_frozen(all: &[Process], own: &BTreeSet<Identity>) -> bool {
    all.iter()
        .any(|process| own.contains(&process.identity()) && process.is_stopped())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(pid: i32, name: &str, state: char, parent: i32, threads: u32, started: u64) -> String {
        format!(
            "{pid} ({name}) {state} {parent} 1 1 0 -1 4194560 1 0 0 0 1 2 3 4 20 0 {threads} 0 {started} 1000 20 \
             18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
        )
    }

    fn process(pid: i32, name: &str, state: char, parent: i32, threads: u32) -> Process {
        Process::parse(&stat(
            pid,
            name,
            state,
            parent,
            threads,
            u64::from(pid.unsigned_abs()) * 10,
        ))
        .unwrap()
    }

    /// The namespace with BuildKit alone, and this besides.
    fn with(more: &[Process]) -> Vec<Process> {
        let mut all = vec![
            process(1, "builder", 'S', 0, 1),
            process(7, "rootlesskit", 'S', 1, 9),
            process(15, "exe", 'S', 7, 9),
            process(40, "buildkitd", 'S', 15, 12),
        ];
        all.extend_from_slice(more);
        all
    }

    fn left(more: &[Process]) -> Vec<i32> {
        leftovers(with(more), &identities(&with(&[])))
            .iter()
            .map(|process| process.pid)
            .collect()
    }

    #[test]
    fn a_process_reads_back_whatever_it_calls_itself() {
        for name in ["sleep", "a) S 1 (b", ") ", "((", "x y"] {
            let found = Process::parse(&stat(77, name, 'R', 40, 2, 5)).unwrap();
            assert_eq!(
                (found.pid, found.parent, found.threads, found.started),
                (77, 40, 2, 5),
                "{name:?}"
            );
            assert_eq!((found.name.as_str(), found.state), (name, 'R'));
        }

        assert_eq!(
            Process::parse(&stat(1, "a\n\u{1b}b", 'S', 0, 1, 0))
                .unwrap()
                .name,
            "ab"
        );
        assert_eq!(Process::parse("1 (x) S 0"), None);
    }

    #[test]
    fn what_was_there_before_the_first_build_is_the_daemons_own() {
        assert_eq!(left(&[]), [] as [i32; 0]);
        let own = identities(&with(&[]));
        assert_eq!(
            own.into_iter().map(|(pid, _)| pid).collect::<Vec<_>>(),
            [7, 15, 40]
        );
    }

    #[test]
    fn what_a_build_left_behind_is_found_wherever_it_hangs() {
        // Below runc, adopted by this process, below the daemon's own.
        let hidden = [
            process(50, "runc", 'S', 40, 3),
            process(51, "sh", 'D', 50, 1),
            process(60, "sleep", 'S', 1, 1),
        ];
        assert_eq!(left(&hidden), [50, 51, 60]);
        assert_eq!(left(&[process(70, "x", 'T', 15, 1)]), [70]);
    }

    #[test]
    fn a_process_whose_first_thread_ended_still_counts_and_one_that_is_over_does_not() {
        assert_eq!(left(&[process(60, "sleep", 'Z', 1, 2)]), [60]);
        assert_eq!(
            left(&[process(60, "sleep", 'Z', 1, 1), process(61, "x", 'X', 1, 1)]),
            [] as [i32; 0]
        );
    }

    #[test]
    fn what_was_started_from_outside_does_not_count() {
        assert_eq!(left(&[process(60, "buildctl", 'S', 0, 5)]), [] as [i32; 0]);
    }

    #[test]
    fn a_process_that_took_the_number_of_one_of_the_daemons_own_is_found() {
        let own = identities(&with(&[]));
        let mut all = with(&[]);
        all[3] = Process {
            started: 4711,
            ..all[3].clone()
        };
        assert_eq!(leftovers(all, &own).len(), 1);
    }

    #[test]
    fn a_daemon_that_was_stopped_is_frozen() {
        let own = identities(&with(&[]));
        let mut all = with(&[process(60, "sleep", 'T', 1, 1)]);
        assert!(!is_frozen(&all, &own));
        all[3].state = 'T';
        assert!(is_frozen(&all, &own));
    }

    #[test]
    fn this_test_is_a_process() {
        let all = all().unwrap();
        let me = all
            .iter()
            .find(|process| process.pid.unsigned_abs() == std::process::id())
            .unwrap();

        assert!(
            me.is_alive() && !me.is_stopped() && me.parent > 0 && me.started > 0,
            "{me:?}"
        );
    }
}

//! The words of a progress line.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

/// How much of a log's end is read, in bytes, and how much of its last line is shown, in characters.
const END: u64 = 4096;
const SHOWN: usize = 72;
/// What takes less of the CPU is not worth a word.
const CHEAP: Duration = Duration::from_secs(1);

/// The number of a step among all: `[ 7 of 23]`.
pub(super) fn counted(number: usize, total: usize) -> String {
    let width = total.to_string().len();
    format!("[{number:>width$} of {total}]")
}

/// A time as people say it: tenths of seconds below a minute, minutes and seconds above.
pub(super) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    }
}

/// What it took of the CPU, where that is worth a word: `, CPU 5 min 02 s`.
pub(super) fn cost(cpu: Duration) -> String {
    if cpu < CHEAP {
        String::new()
    } else {
        format!(", CPU {}", duration(cpu))
    }
}

/// The last line of a log, cut to a width; nothing where there is none.
pub(super) fn under_way(log: Option<&Path>) -> String {
    let end = log.and_then(|log| read_end(log).ok()).unwrap_or_default();
    let line = end.lines().rev().find(|line| !line.trim().is_empty());
    line.map(|line| {
        let shown: String = line.trim().chars().take(SHOWN).collect();
        format!(", {shown}")
    })
    .unwrap_or_default()
}

fn read_end(log: &Path) -> std::io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(END)))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    Ok(String::from_utf8_lossy(&end).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_as_wide_as_its_total() {
        assert_eq!(counted(7, 23), "[ 7 of 23]");
        assert_eq!(counted(3, 4), "[3 of 4]");
    }

    #[test]
    fn a_time_is_said_in_tenths_or_in_minutes() {
        assert_eq!(duration(Duration::from_millis(5_900)), "5.9 s");
        assert_eq!(duration(Duration::from_secs(60)), "1 min 00 s");
        assert_eq!(duration(Duration::from_secs(723)), "12 min 03 s");
    }

    #[test]
    fn little_of_the_cpu_is_not_worth_a_word() {
        assert_eq!(cost(Duration::from_millis(900)), "");
        assert_eq!(cost(Duration::from_secs(2)), ", CPU 2.0 s");
    }

    #[test]
    fn what_is_under_way_is_the_last_line_that_says_something() {
        let log = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(log.path(), "first\n   Compiling serde v1\n\n").unwrap();
        assert_eq!(under_way(Some(log.path())), ", Compiling serde v1");
        assert_eq!(under_way(None), "");
    }

    #[test]
    fn a_long_line_is_cut() {
        let log = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(log.path(), "ä".repeat(5_000)).unwrap();
        assert_eq!(under_way(Some(log.path())).chars().count(), SHOWN + 2);
    }
}

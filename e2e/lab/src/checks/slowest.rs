//! The tests that took longest, as nextest's JUnit report has them.

use std::cmp::Reverse;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

/// How many are shown.
const SHOWN: usize = 10;

/// Tests by the time that they took.
#[derive(Debug, Default)]
pub(super) struct Slowest {
    tests: Vec<(Duration, String)>,
}

impl Slowest {
    /// Adds the tests of a report.
    ///
    /// # Errors
    /// The report cannot be read.
    pub(super) fn read(&mut self, report: &Path) -> Result<()> {
        let text = std::fs::read_to_string(report)
            .with_context(|| format!("cannot read {}", report.display()))?;
        self.tests.extend(text.lines().filter_map(test));
        Ok(())
    }
}

/// The time and the name of a line of a report that begins a test.
fn test(line: &str) -> Option<(Duration, String)> {
    let attributes = line.trim().strip_prefix("<testcase ")?;
    let attribute = |name: &str| {
        let (_, rest) = attributes.split_once(&format!("{name}=\""))?;
        rest.split_once('"').map(|(value, _)| value)
    };

    let seconds: f64 = attribute("time")?.parse().ok()?;
    let name = format!("{} {}", attribute("classname")?, attribute("name")?);
    Some((Duration::try_from_secs_f64(seconds).ok()?, name))
}

impl fmt::Display for Slowest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut tests: Vec<_> = self.tests.iter().collect();
        tests.sort_by_key(|(time, _)| Reverse(*time));
        write!(formatter, "the slowest of {} tests", tests.len())?;
        for (time, name) in tests.iter().take(SHOWN) {
            write!(formatter, "\n  {:>7.1} s  {name}", time.as_secs_f64())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="nextest-run" tests="3" time="12.3">
    <testsuite name="lab::lifecycle" tests="2">
        <testcase name="down_leaves_nothing" classname="lab::lifecycle" timestamp="2026-01-01T00:00:00Z" time="105.855">
        </testcase>
        <testcase name="quick" classname="lab" timestamp="2026-01-01T00:00:00Z" time="0.012">
        </testcase>
    </testsuite>
</testsuites>
"#;

    #[test]
    fn the_slowest_come_first() {
        let slowest = Slowest {
            tests: REPORT.lines().filter_map(test).collect(),
        };
        assert_eq!(
            slowest.to_string(),
            "the slowest of 2 tests\n    105.9 s  lab::lifecycle down_leaves_nothing\n      0.0 s  lab quick"
        );
    }

    #[test]
    fn only_ten_are_shown() {
        let slowest = Slowest {
            tests: vec![(Duration::from_secs(1), "a test".into()); 12],
        };
        assert_eq!(slowest.to_string().lines().count(), 11);
    }
}

//! The figures, as a Markdown table each.

use std::fmt::{self, Display, Formatter};
use std::time::Duration;

use crate::Made;
use crate::usage::{API_SERVER, PROCESSES, SERVICES, Usage};

/// Lines of Markdown.
#[derive(Debug, Default)]
pub(crate) struct Report {
    lines: Vec<String>,
}

impl Report {
    /// A fleet beside what a bare client made.
    pub(crate) fn fleet(&mut self, count: usize, ours: &Made, bare: &Made) {
        self.head(
            &format!("{count} Workspaces at once"),
            &["ours", "bare", "ratio"],
        );

        let rate = |made: &Made| each(count) / made.objects.as_secs_f64();
        self.ratio(
            "objects made, Workspaces/s",
            rate(ours),
            rate(bare),
            rate(ours) / rate(bare),
        );
        let ready = |made: &Made| made.ready.as_secs_f64();
        self.ratio(
            "all Ready after, s",
            ready(ours),
            ready(bare),
            ready(bare) / ready(ours),
        );

        let cpu = |made: &Made, name: &str| per(made.usage.cpu_of(name), count);
        let server = [ours, bare].map(|made| cpu(made, API_SERVER));
        let [own, theirs] = server;
        self.ratio(
            "API server, CPU-ms per Workspace",
            own,
            theirs,
            own / theirs,
        );

        let services = PROCESSES.iter().take(SERVICES);
        let together: f64 = services.map(|name| cpu(ours, name)).sum();
        self.line(&[
            "our services together, CPU-ms per Workspace",
            &figure(together),
            "",
            "",
        ]);
        for name in PROCESSES.iter().filter(|name| **name != API_SERVER) {
            self.line(&[name, &figure(cpu(ours, name)), &figure(cpu(bare, name)), ""]);
        }
    }

    /// What all take while so many Workspaces are there, and nothing changes.
    pub(crate) fn idle(&mut self, what: &str, usage: &Usage, count: usize) {
        self.head(
            &format!("{what}, {count} Workspaces"),
            &["% of a core", "MB resident"],
        );
        for name in PROCESSES {
            let share = 100.0 * usage.cpu_of(name).as_secs_f64() / usage.over.as_secs_f64();
            self.line(&[
                name,
                &figure(share),
                &figure(megabytes(usage.memory_of(name))),
            ]);
        }

        let services = PROCESSES.iter().take(SERVICES);
        let memory = services.map(|name| usage.memory_of(name)).sum();
        self.line(&["our services together", "", &figure(megabytes(memory))]);
    }

    /// How long something took, again and again.
    pub(crate) fn times(&mut self, what: &str, times: &[Duration]) {
        let mut times = times.to_vec();
        times.sort_unstable();
        let at = |percent: usize| {
            let index = (times.len() * percent).div_ceil(100).max(1) - 1;
            times.get(index).copied().unwrap_or_default().as_secs_f64()
        };
        self.head(&format!("{what} ({} times)", times.len()), &["s"]);
        for percent in [50, 99] {
            self.line(&[&format!("p{percent}"), &figure(at(percent))]);
        }
    }

    fn ratio(&mut self, what: &str, ours: f64, bare: f64, ratio: f64) {
        self.line(&[what, &figure(ours), &figure(bare), &figure(ratio)]);
    }

    fn head(&mut self, what: &str, columns: &[&str]) {
        self.lines.push(String::new());
        let mut cells = vec![what];
        cells.extend(columns);
        self.line(&cells);
        self.line(&vec!["---"; cells.len()]);
    }

    fn line(&mut self, cells: &[&str]) {
        self.lines.push(format!("| {} |", cells.join(" | ")));
    }
}

impl Display for Report {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        self.lines
            .iter()
            .try_for_each(|line| writeln!(formatter, "{line}"))
    }
}

fn per(time: Duration, count: usize) -> f64 {
    1000.0 * time.as_secs_f64() / each(count)
}

#[expect(clippy::cast_precision_loss, reason = "nobody applies 2^52 Workspaces")]
fn each(count: usize) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "no process is so large")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn figure(value: f64) -> String {
    format!("{value:.2}")
}

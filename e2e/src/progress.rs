//! What the commands tell while they work: a line per step with what it does and how long it took. On a terminal the
//! line of the running step lives; elsewhere a line is printed when a step is done. Steps that found their work done
//! already are only counted.

use std::cell::Cell;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressStyle};

/// A sequence of steps.
#[derive(Debug)]
pub struct Progress {
    started: Cell<Instant>,
    live: bool,
    done_before: Cell<u32>,
}

/// A step that took less had nothing to do.
const NOTHING: Duration = Duration::from_millis(200);

impl Default for Progress {
    fn default() -> Self {
        Self { started: Cell::new(Instant::now()), live: std::io::stderr().is_terminal(), done_before: Cell::new(0) }
    }
}

impl Progress {
    /// Does one step. `name` is the thing, `what` is done to it.
    ///
    /// # Errors
    /// The step's own, with the step's name before it.
    pub fn step<T>(&self, name: &str, what: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let begun = Instant::now();
        let bar = self.live.then(|| {
            let style = ProgressStyle::with_template("  {spinner} {msg} ({elapsed})")
                .unwrap_or_else(|_| ProgressStyle::default_spinner());
            let bar = ProgressBar::new_spinner().with_style(style).with_message(format!("{name}: {what}"));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        let result = work();
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        if result.is_ok() && begun.elapsed() < NOTHING {
            self.done_before.update(|steps| steps + 1);
            return result;
        }
        let mark = if result.is_ok() { "ok  " } else { "FAIL" };
        say(&format!("  {mark} {:>7.1} s  {name}: {what}", begun.elapsed().as_secs_f64()));
        result.with_context(|| format!("{name}: {what}"))
    }

    /// Begins a sequence of steps.
    pub fn begin(&self) {
        self.started.set(Instant::now());
        self.done_before.set(0);
    }

    /// Says that the sequence is done, and how long it took.
    pub fn done(&self, what: &str) {
        let seconds = self.started.get().elapsed().as_secs_f64();
        say(&format!("{what} in {seconds:.1} s ({} more steps had nothing to do)", self.done_before.get()));
    }
}

/// A line for people. It goes to stderr: stdout belongs to what a command was asked for. A reader who has left is no
/// reason to stop.
pub fn say(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}

//! What the commands tell while they work. On a terminal the line of the running step lives.
//! Elsewhere a step has a line when it starts, a line every half a minute with what is under way,
//! and a line when it is done. Steps that find their work done already are only counted.

use std::cell::RefCell;
use std::fmt;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::cpu;
use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

mod words;

use words::{cost, counted, duration, under_way};

/// A step that took less had nothing to do, and nobody is told that it started.
const NOTHING: Duration = Duration::from_millis(200);
/// How often a line says what is under way, where no line lives.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// How often the living line is brought up to date.
const LIVE: Duration = Duration::from_secs(1);
/// From here on it is worth saying which step took how much of the CPU.
const DEAR: Duration = Duration::from_secs(60);

type Work<'a> = Box<dyn FnOnce() -> Result<()> + 'a>;

/// One thing to do.
pub struct Step<'a> {
    name: String,
    what: String,
    log: Option<PathBuf>,
    work: Work<'a>,
}

impl<'a> Step<'a> {
    /// `name` is the thing, `what` is done to it.
    pub fn new(
        name: impl Into<String>,
        what: impl Into<String>,
        work: impl FnOnce() -> Result<()> + 'a,
    ) -> Self {
        Self {
            name: name.into(),
            what: what.into(),
            log: None,
            work: Box::new(work),
        }
    }

    /// What it is about.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same step, whose log's last line tells what is under way.
    #[must_use]
    pub fn logs_to(mut self, log: impl Into<PathBuf>) -> Self {
        self.log = Some(log.into());
        self
    }
}

/// What a step took.
struct Spent {
    name: String,
    wall: Duration,
    cpu: Duration,
}

/// A sequence of steps.
pub struct Progress {
    cpu: Box<dyn Fn() -> Duration>,
    spent: RefCell<Vec<Spent>>,
}

impl Default for Progress {
    /// Counts what this process and its children take.
    fn default() -> Self {
        Self::new(cpu::of_this_process)
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Progress").finish_non_exhaustive()
    }
}

impl Progress {
    /// `cpu` tells how much of the CPU was taken until now by what the steps start.
    pub fn new(cpu: impl Fn() -> Duration + 'static) -> Self {
        Self {
            cpu: Box::new(cpu),
            spent: RefCell::default(),
        }
    }

    /// Does steps one after the other, and says at the end that `outcome` is reached and what it
    /// took.
    ///
    /// # Errors
    /// The first that a step has, with the step's name before it.
    pub fn run(&self, outcome: &str, steps: Vec<Step<'_>>) -> Result<()> {
        let (total, begun) = (steps.len(), Instant::now());
        self.spent.borrow_mut().clear();

        for (index, step) in steps.into_iter().enumerate() {
            self.step(&counted(index + 1, total), step)?;
        }

        let spent = self.spent.borrow();
        let cpu = spent.iter().map(|step| step.cpu).sum();

        say(&format!(
            "{outcome} in {}{}; {} of {total} steps had nothing to do",
            duration(begun.elapsed()),
            cost(cpu),
            total - spent.len()
        ));

        if cpu >= DEAR {
            spent
                .iter()
                .filter(|step| !cost(step.cpu).is_empty())
                .for_each(|step| {
                    say(&format!(
                        "  {:<16} {:>9}{}",
                        step.name,
                        duration(step.wall),
                        cost(step.cpu)
                    ));
                });
        }

        Ok(())
    }

    fn step(&self, count: &str, step: Step<'_>) -> Result<()> {
        let title = format!("{}: {}", step.name, step.what);
        let (begun, cpu) = (Instant::now(), (self.cpu)());
        let (done, working) = channel::<()>();

        let result = std::thread::scope(|scope| {
            let (title, log) = (&title, step.log.as_deref());
            scope.spawn(move || accompany(count, title, log, &working));
            let result = (step.work)();
            drop(done);
            result
        });

        let wall = begun.elapsed();
        if result.is_ok() && wall < NOTHING {
            return result;
        }

        let cpu = (self.cpu)().saturating_sub(cpu);
        let how = if result.is_ok() { "ok" } else { "FAILED" };

        say(&format!(
            "{count} {}: {how} after {}{}",
            step.name,
            duration(wall),
            cost(cpu)
        ));

        self.spent.borrow_mut().push(Spent {
            name: step.name,
            wall,
            cpu,
        });
        result.context(title)
    }
}

/// Tells about a step until the other end of `working` is dropped.
fn accompany(count: &str, title: &str, log: Option<&Path>, working: &Receiver<()>) {
    let ended = |patience| {
        matches!(
            working.recv_timeout(patience),
            Ok(()) | Err(RecvTimeoutError::Disconnected)
        )
    };

    if ended(NOTHING) {
        return;
    }

    let begun = Instant::now();

    if std::io::stderr().is_terminal() {
        let bar = bar(count, title);
        while !ended(LIVE) {
            bar.set_prefix(under_way(log));
        }
        bar.finish_and_clear();
    } else {
        say(&format!("{count} {title}"));
        while !ended(HEARTBEAT) {
            let elapsed = duration(begun.elapsed());
            say(&format!("{count} ... {elapsed}{}", under_way(log)));
        }
    }
}

/// A line that lives: the count, the step, how long it runs, and what is under way.
fn bar(count: &str, title: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {msg} ({elapsed}){prefix:.dim}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(style);
    bar.set_message(format!("{count} {title}"));
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// A line for people. It goes to stderr: stdout belongs to what a command was asked for. A reader
/// who has left is no reason to stop.
pub fn say(line: &str) {
    drop(writeln!(std::io::stderr(), "{line}"));
}

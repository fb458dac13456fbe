//! What BuildKit reports of a build while it runs. Pure: lines go in and come out, secrets masked.

use std::collections::{HashMap, VecDeque};

use bollard_buildkit_proto::google::protobuf::Timestamp;
use bollard_buildkit_proto::moby::buildkit::v1::{StatusResponse, Vertex};
use sequencer_proto::v1::Line;

use crate::redact::Redact;

/// The most lines of a step that are kept to show why it failed.
const TAIL: usize = 20;

/// The most bytes of one build's log; what comes after is dropped.
const MOST: usize = 20 * 1024 * 1024;

/// The most bytes of a line.
const LONGEST: usize = 8 * 1024;

/// How the names of steps begin whose failure stops nothing.
const CACHES: [&str; 2] = ["importing cache", "exporting cache"];

/// A step as it stands.
#[derive(Debug, Default)]
struct Step {
    number: u32,
    name: String,
    /// When it began, in milliseconds since the Unix epoch.
    started: i64,
    cached: bool,
    completed: bool,
    error: String,
    /// The beginning of a line whose end did not come yet, for standard output and error.
    open: [String; 2],
    tail: VecDeque<String>,
}

/// A build as far as it was reported.
#[derive(Debug)]
pub(super) struct Progress {
    redact: Redact,
    steps: HashMap<String, Step>,
    bytes: usize,
}

/// A step that failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailedStep {
    /// As the frontend names it: `[builder 4/6] RUN npm ci`.
    pub name: String,
    /// What BuildKit says of it.
    pub error: String,
    /// The last lines that it wrote.
    pub tail: Vec<String>,
}

impl Progress {
    pub(super) fn new(redact: Redact) -> Self {
        Self {
            redact,
            steps: HashMap::new(),
            bytes: 0,
        }
    }

    /// Takes news in, and gives the lines that they bring to the log.
    pub(super) fn take(&mut self, news: StatusResponse) -> Vec<Line> {
        let mut lines = Vec::new();

        for vertex in news.vertexes {
            self.vertex(vertex, &mut lines);
        }

        for log in news.logs {
            let next = self.next();
            let step = self.steps.entry(log.vertex).or_insert_with(|| Step {
                number: next,
                ..Step::default()
            });
            let stderr = log.stream == 2;
            let text = String::from_utf8_lossy(&log.msg);
            let Some(open) = step.open.get_mut(usize::from(stderr)) else {
                continue;
            };

            open.push_str(&text);
            let mut whole = std::mem::take(open);
            let end = whole.rfind('\n').map_or(0, |at| at + 1);
            // A line without an end is shown once it is long.
            let end = if whole.len() - end > LONGEST {
                whole.len()
            } else {
                end
            };

            *open = whole.split_off(end);
            for text in whole.lines() {
                step.say(
                    &self.redact,
                    text,
                    stderr,
                    millis(log.timestamp.as_ref()),
                    &mut lines,
                );
            }
        }

        self.bytes = self
            .bytes
            .saturating_add(lines.iter().map(|line| line.text.len()).sum());
        if self.bytes > MOST { Vec::new() } else { lines }
    }

    fn vertex(&mut self, vertex: Vertex, lines: &mut Vec<Line>) {
        let next = self.next();
        let step = self.steps.entry(vertex.digest).or_insert_with(|| Step {
            number: next,
            ..Step::default()
        });
        let at = |time: Option<&Timestamp>| millis(time.or(vertex.started.as_ref()));
        let redact = &self.redact;

        if step.name.is_empty() && vertex.started.is_some() {
            step.name = redact.clean(&vertex.name);
            step.started = at(None);
            lines.push(Line {
                at_ms: at(None),
                step: step.number,
                stderr: false,
                text: cut(&step.name),
            });
        }

        let ended = vertex.completed.is_some() && !step.completed;
        step.cached |= vertex.cached;
        if ended {
            step.completed = true;
            let at = at(vertex.completed.as_ref());

            for (stderr, text) in [false, true]
                .into_iter()
                .zip(std::mem::take(&mut step.open))
            {
                if !text.is_empty() {
                    step.say(redact, &text, stderr, at, lines);
                }
            }

            step.error = redact.clean(&vertex.error);

            let text = match (step.error.is_empty(), step.cached) {
                (true, true) => "CACHED".into(),
                (true, false) => "DONE".into(),
                (false, _) => format!("ERROR {}", step.error),
            };

            lines.push(Line {
                at_ms: at,
                step: step.number,
                stderr: !step.error.is_empty(),
                text: cut(&text),
            });
        }
    }

    fn next(&self) -> u32 {
        u32::try_from(self.steps.len() + 1).unwrap_or(u32::MAX)
    }

    /// The step that is under way, or that of them which began last.
    pub(super) fn current(&self) -> Option<&str> {
        let running = |step: &&Step| !step.name.is_empty() && !step.completed;
        self.steps
            .values()
            .filter(running)
            .max_by_key(|step| (step.started, step.number))
            .map(|step| step.name.as_str())
    }

    /// How many steps of the Dockerfile came from a cache, and how many there are.
    pub(super) fn counts(&self) -> (usize, usize) {
        let steps = || self.steps.values().filter(|step| is_step(&step.name));
        (steps().filter(|step| step.cached).count(), steps().count())
    }

    /// The step that failed, a step of the Dockerfile first. One that was only cancelled with it
    /// did not fail, and a cache that is not there stops nothing.
    pub(super) fn failed(&self) -> Option<FailedStep> {
        let failed = |step: &&Step| {
            let cache = CACHES.iter().any(|begin| step.name.starts_with(begin));
            !step.error.is_empty() && !step.error.contains("context canceled") && !cache
        };

        let step = self
            .steps
            .values()
            .filter(failed)
            .min_by_key(|step| (!is_step(&step.name), step.number))?;
        let tail = step.tail.iter().cloned().collect();

        Some(FailedStep {
            name: step.name.clone(),
            error: step.error.clone(),
            tail,
        })
    }

    /// The text without the build's secrets.
    pub(super) fn clean(&self, text: &str) -> String {
        self.redact.clean(text)
    }
}

impl Step {
    fn say(
        &mut self,
        redact: &Redact,
        text: &str,
        stderr: bool,
        at_ms: i64,
        lines: &mut Vec<Line>,
    ) {
        // Progress bars write over their own line: only what stood there last counts.
        let last = text
            .trim_end_matches('\r')
            .rsplit('\r')
            .next()
            .unwrap_or_default();
        let text = cut(&redact.clean(last));

        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }

        self.tail.push_back(text.clone());
        lines.push(Line {
            at_ms,
            step: self.number,
            stderr,
            text,
        });
    }
}

/// Whether a name is of a Dockerfile's own step: `[2/6] RUN ...`, `[builder 2/6] RUN ...`.
fn is_step(name: &str) -> bool {
    let about = name
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
        .map(|(about, _)| about);
    about
        .and_then(|about| about.rsplit(' ').next())
        .is_some_and(|count| {
            count
                .split_once('/')
                .is_some_and(|(a, b)| a.parse::<u32>().is_ok() && b.parse::<u32>().is_ok())
        })
}

fn cut(text: &str) -> String {
    text.get(..text.floor_char_boundary(LONGEST))
        .unwrap_or(text)
        .to_owned()
}

fn millis(time: Option<&Timestamp>) -> i64 {
    time.map_or(0, |time| {
        time.seconds
            .saturating_mul(1000)
            .saturating_add(i64::from(time.nanos) / 1_000_000)
    })
}

#[cfg(test)]
mod tests;

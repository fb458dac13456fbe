//! Why a build failed, from what BuildKit says. Pure.

use std::error::Error as _;

use bollard_buildkit_proto::google::rpc::Status as Details;
use sequencer_api::code::Code;
use sequencer_api::status;
use sequencer_proto::Message as _;
use sequencer_runtime::plain::plain;
use serde::Deserialize;
use tonic::{Code as Grpc, Status};

use super::progress::FailedStep;

/// The most characters of a line and of a step's name in a status.
const LINE: usize = 200;
/// The most characters of a message in a status.
const MESSAGE: usize = 900;

/// A failed build, for people. It holds no secret of the build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The code that people see.
    pub code: Code,
    pub message: String,
    pub step: Option<String>,
    pub line: Option<i32>,
    /// The step's exit code.
    pub exit_code: Option<i32>,
    /// The last lines of the step's log.
    pub log_tail: Vec<String>,
}

impl Failure {
    /// A failure of which no more is known.
    #[must_use]
    pub fn plain(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            step: None,
            line: None,
            exit_code: None,
            log_tail: Vec::new(),
        }
    }

    /// BuildKit ended in the middle of a build, or cannot be reached: nothing that the build itself
    /// can be blamed for.
    #[must_use]
    pub fn lost(why: &str) -> Self {
        Self::plain(
            Code::BuildKitLost,
            cut(
                &format!("BuildKit was lost, and the build is tried again: {why}"),
                MESSAGE,
            ),
        )
    }

    /// From what BuildKit answered, and the step that failed, if one did; secrets are masked in
    /// both.
    pub(super) fn of(
        answer: &Status,
        step: Option<FailedStep>,
        clean: impl Fn(&str) -> String,
    ) -> Self {
        let message = clean(answer.message());

        if is_lost(answer) {
            return Self::lost(&message);
        }

        let output = step
            .as_ref()
            .map_or(message.as_str(), |step| step.error.as_str());
        let exit_code =
            number_behind(output, "exit code: ").or_else(|| number_behind(&message, "exit code: "));

        Self {
            code: code(answer.code(), &message, output, exit_code),
            message: cut(output, MESSAGE),
            line: line(answer.details()),
            exit_code,
            log_tail: step
                .iter()
                .flat_map(|step| &step.tail)
                .map(|line| shown(line))
                .collect(),
            step: step.map(|step| shown(&step.name)),
        }
    }

    /// As a status records it.
    #[must_use]
    pub fn status(&self) -> status::Failure {
        status::Failure {
            step: self.step.clone(),
            line: self.line,
            exit_code: self.exit_code,
            log_tail: self.log_tail.clone(),
            ..status::Failure::new(self.code, &self.message)
        }
    }

    /// In one line: `failed at [builder 4/6] RUN npm ci (Dockerfile:9), exit code 1`.
    #[must_use]
    pub fn summary(&self, dockerfile: &str) -> String {
        let Some(step) = &self.step else {
            return self.message.clone();
        };

        let line = self
            .line
            .map(|line| format!(" ({dockerfile}:{line})"))
            .unwrap_or_default();
        let end = self.exit_code.map_or_else(
            || format!(": {}", self.message),
            |code| format!(", exit code {code}"),
        );
        let last = self.log_tail.iter().rfind(|line| !line.trim().is_empty());
        let last = last
            .map(|line| format!(": \"{}\"", line.trim()))
            .unwrap_or_default();
        format!("failed at {step}{line}{end}{last}")
    }
}

/// Whether the answer is none of BuildKit's: an answer that came has no cause here, and one that
/// was made up in its place has. And nobody here cancels a build and then waits for its answer, so
/// BuildKit did, because it was asked to end.
fn is_lost(answer: &Status) -> bool {
    answer.source().is_some() || answer.code() == Grpc::Cancelled
}

fn code(grpc: Grpc, message: &str, output: &str, exit_code: Option<i32>) -> Code {
    let says = |words: &[&str]| {
        words
            .iter()
            .any(|words| output.contains(words) || message.contains(words))
    };

    if says(&[
        "no space left on device",
        "cannot allocate memory",
        "signal: killed",
        "ResourceExhausted",
    ]) || exit_code == Some(137)
    {
        return Code::BuildResourcesExhausted;
    }

    if says(&[
        "failed to read dockerfile",
        "failed to load dockerfile",
        "the Dockerfile cannot be empty",
    ]) {
        return Code::DockerfileNotFound;
    }

    if says(&[
        "failed to push",
        "error writing manifest",
        "error writing layer blob",
    ]) {
        return Code::StagingUnavailable;
    }

    match grpc {
        Grpc::Unavailable | Grpc::DeadlineExceeded | Grpc::Aborted => Code::BuilderUnavailable,
        _ => Code::StepFailed,
    }
}

fn number_behind(text: &str, words: &str) -> Option<i32> {
    let (_, rest) = text.rsplit_once(words)?;
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    rest.get(..end)?.parse().ok()
}

/// `errdefs.Source`, which BuildKit writes as JSON.
#[derive(Deserialize)]
struct Source {
    #[serde(default)]
    ranges: Vec<Range>,
}

#[derive(Deserialize)]
struct Range {
    #[serde(default)]
    start: Position,
}

#[derive(Default, Deserialize)]
struct Position {
    #[serde(default)]
    line: i32,
}

/// The Dockerfile's line that the answer's details point to.
fn line(details: &[u8]) -> Option<i32> {
    let details = Details::decode(details).ok()?.details;
    let sources = details
        .iter()
        .filter(|detail| detail.type_url.contains("errdefs.Source"));
    let parsed = sources.filter_map(|detail| serde_json::from_slice::<Source>(&detail.value).ok());

    parsed
        .flat_map(|source| source.ranges)
        .map(|range| range.start.line)
        .find(|line| *line > 0)
}

/// The name of a step or another line as a status shows it.
#[must_use]
pub fn shown(line: &str) -> String {
    cut(line, LINE)
}

fn cut(text: &str, most: usize) -> String {
    plain(text).chars().take(most).collect()
}

#[cfg(test)]
mod tests {
    use bollard_buildkit_proto::google::protobuf::Any;
    use tonic::Code as Grpc;

    use super::*;

    fn failed(error: &str) -> Option<FailedStep> {
        Some(FailedStep {
            name: "[1/2] RUN x".into(),
            error: error.into(),
            tail: vec!["a\u{1b}[0m".into(), "y".repeat(500)],
        })
    }

    #[test]
    fn a_step_is_recorded_with_its_line_and_exit_code() {
        let source = Any {
            type_url: "github.com/moby/buildkit/errdefs.Source+json".into(),
            value: br#"{"info":{"filename":"Dockerfile"},"ranges":[{"start":{"line":9},"end":{"line":10}}]}"#.to_vec(),
        };
        let details = Details {
            code: 2,
            message: String::new(),
            details: vec![source],
        }
        .encode_to_vec();
        let answer = Status::with_details(
            Grpc::Unknown,
            "failed to solve: exit code: 3",
            details.into(),
        );
        let failure = Failure::of(
            &answer,
            failed("process \"x\" did not complete successfully: exit code: 3"),
            str::to_owned,
        );
        assert_eq!(
            (failure.code, failure.line, failure.exit_code),
            (Code::StepFailed, Some(9), Some(3))
        );
        assert_eq!(failure.log_tail[0], "a");
        assert_eq!(failure.log_tail[1].len(), LINE);
        assert!(
            failure
                .summary("Dockerfile")
                .starts_with("failed at [1/2] RUN x (Dockerfile:9), exit code 3")
        );
    }

    #[test]
    fn memory_disk_staging_and_the_builder_itself_have_codes_of_their_own() {
        for (grpc, message, wanted) in [
            (
                Grpc::Unknown,
                "exit code: 137",
                Code::BuildResourcesExhausted,
            ),
            (
                Grpc::Unknown,
                "write /x: no space left on device",
                Code::BuildResourcesExhausted,
            ),
            (
                Grpc::Unknown,
                "failed to read dockerfile: open Dockerfile: no such file",
                Code::DockerfileNotFound,
            ),
            (
                Grpc::Unknown,
                "failed to push staging/x: 401",
                Code::StagingUnavailable,
            ),
            (
                Grpc::Unavailable,
                "503 Service Unavailable",
                Code::BuilderUnavailable,
            ),
            (Grpc::Cancelled, "context canceled", Code::BuildKitLost),
            (Grpc::Unknown, "pull access denied", Code::StepFailed),
        ] {
            assert_eq!(
                Failure::of(&Status::new(grpc, message), None, str::to_owned).code,
                wanted,
                "{message}"
            );
        }
    }

    #[test]
    fn an_answer_that_was_made_up_because_none_came_blames_nobody() {
        let reset = || std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        // As tonic reports a BuildKit that was killed: with any code.
        for grpc in [Grpc::Unknown, Grpc::Internal, Grpc::Unavailable] {
            let mut answer = Status::new(grpc, "transport error");
            assert_ne!(
                Failure::of(&answer, None, str::to_owned).code,
                Code::BuildKitLost
            );
            answer.set_source(std::sync::Arc::new(reset()));
            let failure = Failure::of(&answer, failed("exit code: 137"), str::to_owned);
            assert_eq!(
                (failure.code, failure.step, failure.exit_code),
                (Code::BuildKitLost, None, None)
            );
        }
        assert_eq!(
            Failure::of(&Status::from_error(Box::new(reset())), None, str::to_owned).code,
            Code::BuildKitLost
        );
    }

    #[test]
    fn secrets_are_masked() {
        let clean = |text: &str| text.replace("hunter22", "***");
        let failure = Failure::of(&Status::unknown("args hunter22"), None, clean);
        assert_eq!(failure.message, "args ***");
    }
}

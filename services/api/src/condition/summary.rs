//! What becomes a condition: how bad it is, and its message.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::{ConditionType, Reason, Status, find};
use crate::code::Code;

/// The most characters of a condition's message.
const MESSAGE: usize = 1024;

/// What is known of a condition, before it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Whether it holds.
    pub holds: bool,
    /// Why.
    pub reason: Reason,
    /// For people, without the code.
    pub message: String,
    /// Whether what is wrong is tried again soon, so that no person is needed.
    pub retried: bool,
}

/// How bad a condition is. What summarizes several repeats the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It holds.
    Good,
    /// Held back.
    Waiting,
    /// Under way.
    InProgress,
    /// Held back by the user.
    Paused,
    /// Something is wrong, and tried again soon.
    Retried,
    /// A newer commit took its place.
    Superseded,
    /// Something is wrong.
    Failed,
    /// Being deleted.
    Terminating,
}

impl Summary {
    /// It holds.
    pub fn yes(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            holds: true,
            reason,
            message: message.into(),
            retried: false,
        }
    }

    /// It does not hold.
    pub fn no(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            holds: false,
            ..Self::yes(reason, message)
        }
    }

    /// It does not hold, because something is wrong.
    pub fn failed(code: Code, message: impl Into<String>) -> Self {
        Self::no(Reason::Code(code), message)
    }

    /// How bad it is.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        if self.holds {
            return Severity::Good;
        }
        match self.reason {
            // What does not hold, and whose reason says that it should, waits for its next word.
            Reason::Healthy | Reason::Completed | Reason::Waiting => Severity::Waiting,
            Reason::InProgress => Severity::InProgress,
            Reason::Paused => Severity::Paused,
            Reason::Code(_) if self.retried => Severity::Retried,
            Reason::Superseded => Severity::Superseded,
            Reason::Code(_) => Severity::Failed,
            Reason::Terminating => Severity::Terminating,
        }
    }

    /// Returns the worst: the first of equals, since they come in the order of the work.
    #[must_use]
    pub fn worst<'a>(summaries: impl IntoIterator<Item = &'a Self>) -> Option<&'a Self> {
        summaries.into_iter().reduce(|worst, next| {
            if next.severity() > worst.severity() {
                next
            } else {
                worst
            }
        })
    }

    /// Returns the message as it is written: behind the code, if something is wrong.
    #[must_use]
    pub fn text(&self) -> String {
        let text = match self.reason {
            Reason::Code(code) => format!("{code} {}", self.message),
            _ => self.message.clone(),
        };
        text.chars().take(MESSAGE).collect()
    }

    /// Returns the condition as it is written for this generation. It changed `now`, unless its
    /// status is that of the one `before`.
    #[must_use]
    pub fn condition(
        &self,
        kind: ConditionType,
        generation: i64,
        before: &[Condition],
        now: Time,
    ) -> Condition {
        let status = if self.holds {
            Status::True
        } else {
            Status::False
        };

        let since = find(before, kind)
            .filter(|before| before.status == status.as_str())
            .map(|before| before.last_transition_time.clone());

        Condition {
            type_: kind.to_string(),
            status: status.to_string(),
            reason: self.reason.to_string(),
            message: self.text(),
            observed_generation: Some(generation),
            last_transition_time: since.unwrap_or(now),
        }
    }
}

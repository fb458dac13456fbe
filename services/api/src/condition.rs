//! Conditions (metav1.Condition): their types, their reasons, and what is known of one before it is
//! written. The text of a condition is made here alone, and no program reads it.

mod summary;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::code::Code;

pub use summary::{Severity, Summary};

/// A word that is none of the list.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown {0}: {1:?}")]
pub struct UnknownWord(&'static str, String);

/// An enum of words that status and spec hold as strings.
macro_rules! words {
    ($(#[doc = $doc:literal])+ $kind:ident, $called:literal { $($(#[doc = $about:literal])+ $name:ident $(= $word:literal)?,)+ }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $kind {
            $($(#[doc = $about])+ $name,)+
        }

        impl $kind {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$name),+];

            /// Returns the word.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => words!(@word $name $($word)?),)+ }
            }
        }

        impl FromStr for $kind {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                Self::ALL
                    .iter()
                    .copied()
                    .find(|word| word.as_str() == text)
                    .ok_or_else(|| UnknownWord($called, text.into()))
            }
        }

        impl fmt::Display for $kind {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(self.as_str())
            }
        }
    };
    (@word $name:ident) => { stringify!($name) };
    (@word $name:ident $word:literal) => { $word };
}

/// A type that status and spec hold as a string of at most 32 characters.
macro_rules! as_string {
    ($($kind:ident)+) => {
        $(
            impl Serialize for $kind {
                fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    serializer.collect_str(self)
                }
            }

            impl<'de> Deserialize<'de> for $kind {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    let text = String::deserialize(deserializer)?;
                    text.parse().map_err(serde::de::Error::custom)
                }
            }

            impl JsonSchema for $kind {
                fn inline_schema() -> bool {
                    true
                }

                fn schema_name() -> Cow<'static, str> {
                    stringify!($kind).into()
                }

                fn json_schema(_: &mut SchemaGenerator) -> Schema {
                    json_schema!({"type": "string", "maxLength": 32})
                }
            }
        )+
    };
}

words! {
    /// The type of a condition, over all kinds.
    ConditionType, "condition type" {
        /// Workspace: all Components are ready.
        Components,
        /// Workspace: the tunnel is connected.
        Tunnel,
        /// Workspace: the Ingress has an address.
        Ingress,
        /// Workspace: the records are answered.
        Dns = "DNS",
        /// Workspace: the URL answers.
        Route,
        /// Component: the branches are resolved to commits.
        Source,
        /// Component: the image is published.
        Build,
        /// Component: what it waits for holds.
        Dependencies,
        /// Component: the variables have values.
        Variables,
        /// Component: the Services exist.
        Network,
        /// Component: the pods are ready, or the Job is done.
        Pod,
        /// Build: the image is in the staging registry.
        Image,
        /// Build: the image is in every registry.
        Publish,
        /// DNSRecord: a provider serves the zone.
        Provider,
        /// DNSRecord: the record exists at the provider.
        Record,
        /// DNSRecord: the authoritative servers answer with it.
        Resolved,
        /// Some version serves.
        Available,
        /// The newest version serves.
        Ready,
        /// Stands while the controllers work towards the spec.
        Reconciling,
        /// Stands while a person is needed.
        Stalled,
        /// Stands while `spec.paused` is set.
        Paused,
        /// Stands while a Workspace is soon deleted.
        Expiring,
        /// Stands while something keeps a Workspace from being deleted.
        TeardownBlocked,
    }
}

words! {
    /// The status of a condition.
    Status, "status of a condition" {
        /// It holds.
        True,
        /// It does not hold.
        False,
        /// Nobody knows yet.
        Unknown,
    }
}

impl ConditionType {
    /// The conditions that a Component has, which others may wait for.
    pub const OF_COMPONENT: [Self; 8] = [
        Self::Source,
        Self::Build,
        Self::Dependencies,
        Self::Variables,
        Self::Network,
        Self::Pod,
        Self::Available,
        Self::Ready,
    ];
}

/// Why a condition is as it is: the closed list that users meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It runs and answers.
    Healthy,
    /// A finite step is done.
    Completed,
    /// Held back by what the message names; nothing is wrong.
    Waiting,
    /// Under way.
    InProgress,
    /// A newer commit took its place.
    Superseded,
    /// Held back by the user.
    Paused,
    /// Being deleted.
    Terminating,
    /// Something is wrong.
    Code(Code),
}

impl Reason {
    /// The reasons that are not a code's.
    const PLAIN: [Self; 7] = [
        Self::Healthy,
        Self::Completed,
        Self::Waiting,
        Self::InProgress,
        Self::Superseded,
        Self::Paused,
        Self::Terminating,
    ];

    /// Returns the word in a condition.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "Healthy",
            Self::Completed => "Completed",
            Self::Waiting => "Waiting",
            Self::InProgress => "InProgress",
            Self::Superseded => "Superseded",
            Self::Paused => "Paused",
            Self::Terminating => "Terminating",
            Self::Code(code) => code.reason(),
        }
    }

    /// Returns the code of what is wrong, or None if nothing is.
    #[must_use]
    pub const fn code(self) -> Option<Code> {
        match self {
            Self::Code(code) => Some(code),
            _ => None,
        }
    }

    /// Every reason.
    fn all() -> impl Iterator<Item = Self> {
        let codes = Code::ALL.iter().copied().map(Self::Code);
        Self::PLAIN.into_iter().chain(codes)
    }
}

impl FromStr for Reason {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        Self::PLAIN
            .into_iter()
            .find(|reason| reason.as_str() == text)
            .or_else(|| Code::of_reason(text).map(Self::Code))
            .ok_or_else(|| UnknownWord("reason", text.into()))
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// What one component waits for in a condition of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The condition's status.
    Status(Status),
    /// The condition's reason.
    Reason(Reason),
    /// `Error`: the reason of any code.
    Error,
}

impl Expected {
    const ERROR: &str = "Error";

    /// Whether a condition is as expected.
    #[must_use]
    pub fn is_met_by(self, condition: &Condition) -> bool {
        match self {
            Self::Status(status) => condition.status == status.as_str(),
            // What comes to an end is healthy when it has come to a good one.
            Self::Reason(Reason::Healthy) => {
                is(condition, Status::True)
                    && [Reason::Healthy, Reason::Completed]
                        .iter()
                        .any(|reason| condition.reason == reason.as_str())
            }
            Self::Reason(reason) => condition.reason == reason.as_str(),
            Self::Error => code(condition).is_some(),
        }
    }

    /// The rule (CEL) that takes the words of [`Expected::from_str`] and no others.
    pub(crate) fn rule() -> String {
        let statuses = Status::ALL.iter().map(|status| status.as_str());
        let reasons = Reason::all().map(Reason::as_str);
        let words: Vec<_> = statuses
            .chain([Self::ERROR])
            .chain(reasons)
            .map(|word| format!("'{word}'"))
            .collect();
        format!("self in [{}]", words.join(", "))
    }
}

impl Default for Expected {
    fn default() -> Self {
        Self::Status(Status::True)
    }
}

impl FromStr for Expected {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        if text == Self::ERROR {
            return Ok(Self::Error);
        }
        text.parse()
            .map(Self::Status)
            .or_else(|_| text.parse().map(Self::Reason))
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Status(status) => status.as_str(),
            Self::Reason(reason) => reason.as_str(),
            Self::Error => Self::ERROR,
        })
    }
}

as_string! { ConditionType Status Reason Expected }

/// Returns the condition of a type.
#[must_use]
pub fn find(conditions: &[Condition], kind: ConditionType) -> Option<&Condition> {
    conditions
        .iter()
        .find(|condition| condition.type_ == kind.as_str())
}

/// Whether a condition has this status.
#[must_use]
pub fn is(condition: &Condition, status: Status) -> bool {
    condition.status == status.as_str()
}

/// Whether the condition of a type holds, of whatever generation.
#[must_use]
pub fn holds(conditions: &[Condition], kind: ConditionType) -> bool {
    find(conditions, kind).is_some_and(|found| is(found, Status::True))
}

/// Whether the condition of a type holds, and speaks of this generation.
#[must_use]
pub fn holds_for(conditions: &[Condition], kind: ConditionType, generation: i64) -> bool {
    find(conditions, kind).is_some_and(|found| {
        is(found, Status::True) && found.observed_generation == Some(generation)
    })
}

/// Returns the code of what a condition says is wrong, or None if nothing is.
#[must_use]
pub fn code(condition: &Condition) -> Option<Code> {
    Code::of_reason(&condition.reason)
}

#[cfg(test)]
mod tests;

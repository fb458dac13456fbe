//! The streams.

use std::time::Duration;

/// The most bytes of an encoded [`CommandPayload`](crate::v1::CommandPayload).
pub const MAX_COMMAND: usize = 1024;
/// The most bytes of an encoded [`Progress`](crate::v1::Progress) or [`Log`](crate::v1::Log): with
/// its headers it still fits into a message of the stream.
pub const MAX_PAYLOAD: usize = 15 * 1024;

/// What makes a message leave a stream besides the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// Nothing.
    Limits,
    /// Its acknowledgement.
    WorkQueue,
}

/// A stream on disk that drops the oldest message when a limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Its name.
    pub name: &'static str,
    /// The subjects that it keeps.
    pub subjects: &'static str,
    /// What makes a message leave.
    pub retention: Retention,
    /// The most messages of one subject.
    pub max_messages_per_subject: i64,
    /// The most messages; none is no limit.
    pub max_messages: Option<i64>,
    /// The most bytes of all messages.
    pub max_bytes: i64,
    /// The most bytes of one message with its headers.
    pub max_message_size: i32,
    /// How long a message stays.
    pub max_age: Duration,
}

/// A keyed mailbox of commands: the newest of each subject, until it is acknowledged.
pub const COMMANDS: Stream = Stream {
    name: "SEQ_CMD",
    subjects: "seq.v1.cmd.>",
    retention: Retention::WorkQueue,
    max_messages_per_subject: 1,
    max_messages: Some(500_000),
    max_bytes: 512 * MIB,
    max_message_size: 4 * 1024,
    max_age: hours(24),
};

/// Progress for people's tools.
pub const EVENTS: Stream = Stream {
    name: "SEQ_EVT",
    subjects: "seq.v1.evt.>",
    retention: Retention::Limits,
    max_messages_per_subject: 64,
    max_messages: None,
    max_bytes: 1024 * MIB,
    max_message_size: 16 * 1024,
    max_age: hours(72),
};

/// Logs of builds.
pub const LOGS: Stream = Stream {
    name: "SEQ_LOG",
    subjects: "seq.v1.log.>",
    retention: Retention::Limits,
    max_messages_per_subject: 20_000,
    max_messages: None,
    max_bytes: 4096 * MIB,
    max_message_size: 16 * 1024,
    max_age: hours(24),
};

/// Every stream.
pub const STREAMS: [Stream; 3] = [COMMANDS, EVENTS, LOGS];

const MIB: i64 = 1024 * 1024;

const fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3600)
}

//! The one table: message -> subject -> stream -> consumer.
//!
//! | message | subject | stream | read by |
//! |---|---|---|---|
//! | [`CommandPayload`](crate::v1::CommandPayload) | [`Command`]: `seq.v1.cmd.<service>.<verb>.<pool or _>.<workspace uid>.<kind>.<uid>` | [`COMMANDS`] | [`Consumer`] |
//! | [`Progress`](crate::v1::Progress) | [`Event`]: `seq.v1.evt.<workspace uid>.<service>.<kind>.<uid>` | [`EVENTS`] | people's tools |
//! | [`Log`](crate::v1::Log) | [`BuildLog`]: `seq.v1.log.<workspace uid>.<build uid>` | [`LOGS`] | people's tools |

mod consumer;
mod stream;
mod subject;
mod words;

pub use consumer::{ACK_WAIT, Consumer, MAX_ACK_PENDING};
pub use stream::{COMMANDS, EVENTS, LOGS, MAX_COMMAND, MAX_PAYLOAD, Retention, STREAMS, Stream};
pub use subject::{BuildLog, Command, Event, Malformed};
pub use words::{Kind, Pool, Service, Verb};

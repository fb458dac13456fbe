//! The life of a status section, which is the same in every service: a message names an object,
//! the object is read, its section says whether something is due, the work is claimed where it
//! must not be done twice, and its end is recorded over exactly what was read.
//!
//! A service writes one [`Handler`] for each verb. What it may rely on:
//!
//! - [`Work`] holds the object as the API server had it a moment ago, and its section.
//! - Whoever was faster wins: every write tests the section's revision and the object's uid, and
//!   a handler that lost ends without a trace.
//! - [`Sections::handle`] records the end, also that of a failure, in one place.

mod claim;
mod due;
mod failure;
mod patch;
mod secrets;
mod work;

use std::fmt;

use kube::Client;
use sequencer_api::status::{State, StatusSection};
use tracing::{error, warn};

use self::claim::{Holder, Terms};
use crate::args::Args;
use crate::bus::{Delivery, Outcome};
use crate::cluster::secret::Secrets;
use crate::error::chain;
use crate::retry::Waits;

pub use due::{Due, Finality, Wanted, due};
pub use failure::{Failing, Failure, Waiting, failed, waiting};
pub use patch::{RecordError, StatusPatch};
pub use secrets::{SecretReader, Versions};
pub use work::{Meanwhile, Target, Work};

/// What the sections of one process have in common. Clones share it.
#[derive(Clone)]
pub struct Sections {
    client: Client,
    secrets: Secrets,
    holder: Holder,
    terms: Terms,
    waits: Waits,
    poison: std::time::Duration,
}

/// One verb of a service, whose work is recorded in one section.
pub trait Handler: Send + Sync {
    /// Where it is recorded.
    type Section: StatusSection;

    /// Handles an object that is there under the uid that was asked for. It sees to it itself that
    /// the object still wants it and that something is due ([`Work::is_due`]).
    fn handle(
        &self,
        work: &mut Work<Self::Section>,
    ) -> impl Future<Output = Result<End, Stop>> + Send;
}

/// How a handler came to its end. What is to be recorded is recorded by the caller.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// Nothing is left to do. Recorded with this state: Completed, Healthy, Gone or Abandoned; or
    /// Waiting for what somebody else has to do.
    Reached(State),
    /// Nothing is wrong, but it takes its time. Recorded with when it is handled again.
    Waiting(Waiting),
    /// Nothing is to be recorded.
    Nothing(Outcome),
}

/// Why a handler stopped before its end.
#[derive(Debug)]
pub enum Stop {
    /// The rest is not this handler's to do.
    Ended(Outcome),
    /// The object cannot be read.
    Read(kube::Error),
    /// The section cannot be written.
    Record(RecordError),
    /// The work failed. Recorded with when it is tried again.
    Failed(Failing),
}

impl From<kube::Error> for Stop {
    fn from(error: kube::Error) -> Self {
        Self::Read(error)
    }
}

impl From<RecordError> for Stop {
    fn from(error: RecordError) -> Self {
        Self::Record(error)
    }
}

impl<E: Failure> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

impl fmt::Debug for Sections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sections")
            .field("holder", &self.holder)
            .finish_non_exhaustive()
    }
}

impl Sections {
    /// Sections that this process works at with the rights of `client`.
    #[must_use]
    pub fn new(client: Client, args: &Args) -> Self {
        Self {
            secrets: Secrets::new(client.clone()),
            client,
            holder: Holder::new(args),
            terms: Terms::from(&args.periods),
            waits: Waits::from(&args.periods),
            poison: args.periods.poison_retry,
        }
    }

    /// Reads the object of a message, lets the handler work, and records how that ended.
    pub async fn handle<H: Handler>(&self, handler: &H, delivery: &Delivery) -> Outcome {
        let mut work = match Work::read(self, delivery).await {
            Ok(Some(work)) => work,
            Ok(None) => return Outcome::Gone,
            Err(error) => return not_read(&error),
        };

        let recorded = match Box::pin(handler.handle(&mut work)).await {
            Ok(End::Reached(state)) => work.reached(state).await.map(|()| Outcome::Done),
            Ok(End::Waiting(waiting)) => work.wait(waiting).await.map(|()| Outcome::Recorded),
            Err(Stop::Failed(failing)) => work.fail(failing).await.map(|()| Outcome::Recorded),
            Err(Stop::Record(error)) => Err(error),
            Err(Stop::Read(error)) => return not_read(&error),
            Ok(End::Nothing(outcome)) | Err(Stop::Ended(outcome)) => return outcome,
        };

        recorded.unwrap_or_else(|error| not_recorded(&error))
    }
}

/// The message comes again.
fn not_read(error: &kube::Error) -> Outcome {
    warn!(error = chain(error), "Failed to read the object");
    Outcome::NotRecorded
}

fn not_recorded(error: &RecordError) -> Outcome {
    match error {
        // Whoever was faster has the work, and their record stands.
        RecordError::Conflict => return Outcome::ClaimedElsewhere,
        RecordError::Gone => return Outcome::Gone,
        RecordError::Invalid(_) | RecordError::Json(_) => {
            error!(error = chain(error), "The API server refused the status");
        }
        RecordError::Cluster(_) => warn!(error = chain(error), "Failed to write the status"),
    }
    Outcome::NotRecorded
}

//! The step of a Workspace with an ingress.

use crate::error::Error;
use crate::handle::{Done, Service};
use crate::queue::Key;
use sequencer_runtime::bus::Outcome;

impl Service {
    pub(crate) async fn ingress(&self, _key: &Key, _uid: Option<&str>) -> Result<Done, Error> {
        Ok(Done::new(Outcome::Stale))
    }
}

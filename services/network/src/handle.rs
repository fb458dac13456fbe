//! From a message to the handler of its verb.

use sequencer_proto::topics::Verb;
use sequencer_runtime::bus::{Delivery, Outcome};

use crate::dns::handle::RecordHandler;
use crate::probe::ProbeHandler;
use crate::service::Service;
use crate::tunnel::handle::TunnelHandler;

impl Service {
    pub async fn handle(&self, delivery: Delivery) -> Outcome {
        let sections = &self.sections;
        match delivery.command.verb() {
            Verb::Dns => sections.handle(&RecordHandler(self), &delivery).await,
            Verb::Tunnel => sections.handle(&TunnelHandler(self), &delivery).await,
            Verb::Probe => sections.handle(&ProbeHandler(self), &delivery).await,
            _ => Outcome::Stale,
        }
    }
}

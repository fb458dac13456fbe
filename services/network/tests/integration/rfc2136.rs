//! Records by signed updates, on the cluster's bind9.

mod foreign;
mod record;
mod refusals;

use anyhow::Result;
use sequencer_api::provider::{Rfc2136, TsigAlgorithm};
use sequencer_api::secret::SecretKeyRef;
use sequencer_network::dns::rfc2136::Server;
use sequencer_network::dns::{Provider as _, RecordType, Wanted};
use sequencer_network::mark::Mark;

use crate::harness::{BIND, Host};

const ZONE: &str = "preview.test";

/// A client of the test's own, with the right key unless another is given.
async fn server(secret: &str, key: &str) -> Result<Server> {
    let provider = Rfc2136 {
        nameserver: BIND.into(),
        tsig_key_name: key.into(),
        tsig_algorithm: TsigAlgorithm::Sha256,
        tsig_secret_secret_ref: SecretKeyRef {
            name: "tsig".into(),
            namespace: None,
            key: "secret".into(),
        },
    };
    Ok(Server::new(&provider, &secret.into()).await?)
}

fn wanted(host: &Host, kind: RecordType, target: &str, cluster: &str) -> Wanted {
    Wanted {
        zone: ZONE.into(),
        fqdn: host.fqdn(),
        kind,
        target: target.into(),
        ttl: 60,
        proxied: false,
        mark: Mark {
            cluster: cluster.into(),
            owner: host.owner.clone(),
        },
    }
}

async fn targets(server: &Server, wanted: &Wanted) -> Result<Vec<String>> {
    Ok(server
        .observe(wanted)
        .await?
        .records
        .into_iter()
        .map(|record| record.target)
        .collect())
}

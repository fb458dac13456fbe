//! Reads what decides whether a Workspace may be exposed at its hosts: the chart's settings, and the
//! DNSRecords that lock the hosts. [`sequencer_api::host`] decides.

use std::path::PathBuf;

use futures_util::future::try_join_all;
use kube::api::ListParams;
use kube::{Api, Client};
use sequencer_api::host::{Lock, Schemes, Zones, locks};
use sequencer_api::stored::Stored as _;
use sequencer_api::{DNSRecord, Workspace, labels, provider};
use thiserror::Error;

/// What the chart says about hosts.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct Args {
    /// The release namespace, where DNSRecords and the providers' Secrets are
    #[arg(long, env = "SEQUENCER_NAMESPACE")]
    pub namespace: String,
    /// The cluster's id, which stands in hosts and in the marks of what is made outside of it
    #[arg(long, env = "SEQUENCER_CLUSTER_ID", value_parser = cluster_id)]
    pub cluster_id: String,
    /// The chart's dns.providers, YAML
    #[arg(long, env = "SEQUENCER_DNS_PROVIDERS")]
    pub dns_providers: Option<PathBuf>,
}

/// How the chart lets URLs begin where a Workspace does not say.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub struct Urls {
    /// The scheme of URLs behind a tunnel
    #[arg(long, env = "SEQUENCER_TUNNEL_URL_SCHEME", default_value = "https", value_parser = ["https", "http"])]
    pub tunnel_url_scheme: String,
    /// Whether URLs behind an ingress are https
    #[arg(long, env = "SEQUENCER_INGRESS_TLS", default_value_t = true, action = clap::ArgAction::Set)]
    pub ingress_tls: bool,
}

impl From<&Urls> for Schemes {
    fn from(urls: &Urls) -> Self {
        Self {
            tunnel: urls.tunnel_url_scheme.clone(),
            ingress_tls: urls.ingress_tls,
        }
    }
}

/// It stands in names at providers and in DNS: `[a-z0-9]{1,12}`.
fn cluster_id(text: &str) -> Result<String, String> {
    let good = (1..=12).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if good {
        Ok(text.into())
    } else {
        Err("1 to 12 lower-case letters and digits".into())
    }
}

/// The DNS providers cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProvidersError {
    /// There is no such file.
    #[error("cannot read {0}")]
    Read(PathBuf, #[source] std::io::Error),
    /// It is no list of providers.
    #[error("{0} is no list of DNS providers")]
    List(PathBuf, #[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Args {
    /// Reads the providers.
    ///
    /// # Errors
    /// See [`ProvidersError`].
    pub fn zones(&self) -> Result<Zones, ProvidersError> {
        let providers = match &self.dns_providers {
            None => Vec::new(),
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .map_err(|error| ProvidersError::Read(file.clone(), error))?;
                provider::parse(&text)
                    .map_err(|error| ProvidersError::List(file.clone(), error.into()))?
            }
        };
        Ok(Zones {
            cluster_id: self.cluster_id.clone(),
            providers,
        })
    }
}

/// Who holds which host, asked of the API server each time: no cache stands between a lock and what
/// it lets through.
#[derive(Clone, Debug)]
pub struct Hosts {
    records: Api<DNSRecord>,
    /// The chart's zones.
    pub zones: Zones,
}

impl Hosts {
    /// With these settings.
    ///
    /// # Errors
    /// See [`ProvidersError`].
    pub fn new(client: Client, args: &Args) -> Result<Self, ProvidersError> {
        Ok(Self {
            records: Api::namespaced(client, &args.namespace),
            zones: args.zones()?,
        })
    }

    /// Tells whether the Workspace, as its spec is now, may be reached at all of its hosts.
    ///
    /// # Errors
    /// The API server does not answer, or refuses.
    pub async fn exposure(&self, workspace: &Workspace) -> kube::Result<Lock> {
        match self.zones.grant(workspace) {
            Ok(_) => {
                self.held(workspace, workspace.hosts(&self.zones.cluster_id))
                    .await
            }
            Err(refusal) => Ok(Lock::Refused(refusal)),
        }
    }

    /// Tells whether a way in may go that the spec does not have any more: not before the one in its
    /// place answers, unless that is refused.
    ///
    /// # Errors
    /// The API server does not answer, or refuses.
    pub async fn may_leave(&self, workspace: &Workspace) -> kube::Result<bool> {
        let awaits = workspace.awaits_way_in();
        Ok(!awaits || matches!(self.exposure(workspace).await?, Lock::Refused(_)))
    }

    /// Tells whether the Workspace holds all of these hosts.
    ///
    /// # Errors
    /// The API server does not answer, or refuses.
    pub async fn held(
        &self,
        workspace: &Workspace,
        hosts: impl IntoIterator<Item = String>,
    ) -> kube::Result<Lock> {
        let locks = hosts
            .into_iter()
            .map(async |host| self.lock(workspace, &host).await);
        Ok(Lock::all(try_join_all(locks).await?))
    }

    /// Tells whether the Workspace holds any host, perhaps one that its spec named before.
    ///
    /// # Errors
    /// The API server does not answer, or refuses.
    pub async fn any_held(&self, workspace: &Workspace) -> kube::Result<bool> {
        let uid = workspace.uid_str();
        let own = ListParams::default().labels(&format!("{}={uid}", labels::WORKSPACE_UID));
        for record in self.records.list(&own).await? {
            if self.lock(workspace, &record.spec.fqdn()).await? == Lock::Held {
                return Ok(true);
            }
        }

        Ok(false)
    }

    async fn lock(&self, workspace: &Workspace, host: &str) -> kube::Result<Lock> {
        let found = locks(host).map(async |name| self.records.get_opt(&name).await);
        let found = try_join_all(found).await?;
        Ok(self.zones.lock(workspace, host, found.iter().flatten()))
    }
}

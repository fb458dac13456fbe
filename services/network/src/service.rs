//! What the three handlers share: clients, settings and the rights to act.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use kube::Client;
use secrecy::SecretString;
use sequencer_api::code::Code;
use sequencer_api::secret::{SecretKeyRef, SecretRef};
use sequencer_api::status::{self, State};
use sequencer_runtime::egress::EgressGuard;
use sequencer_runtime::hosts::{Hosts, ProvidersError};
use sequencer_runtime::section::{End, SecretReader, Sections, Stop, Waiting};
use thiserror::Error as ThisError;
use tokio::time::timeout;

use crate::args::Args;
use crate::error::Error;

/// The port of name servers (RFC 1035, section 4.2).
const DNS: u16 = 53;

/// The settings cannot be used.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum SettingsError {
    /// The roots cannot be read.
    #[error(transparent)]
    Bundle(#[from] sequencer_runtime::egress::BundleError),
    /// A client cannot be made.
    #[error("cannot make an HTTP client")]
    Http(#[from] reqwest::Error),
    /// The DNS providers cannot be read.
    #[error(transparent)]
    Providers(#[from] ProvidersError),
}

/// Handles the network service's commands.
pub struct Service {
    pub(crate) client: Client,
    pub(crate) sections: Sections,
    pub(crate) egress: EgressGuard,
    pub(crate) http: reqwest::Client,
    pub(crate) hosts: Hosts,
    pub(crate) resolver: SocketAddr,
    pub(crate) args: Args,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service")
            .field("sections", &self.sections)
            .finish_non_exhaustive()
    }
}

impl Service {
    /// With these settings, and with the rights of this client.
    ///
    /// # Errors
    /// See [`SettingsError`].
    pub fn new(client: Client, args: &Args) -> Result<Self, SettingsError> {
        let egress = EgressGuard::new(&args.egress)?;
        let system = || resolver(&std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default());

        Ok(Self {
            sections: Sections::new(client.clone(), &args.shared),
            http: egress.trusted().build()?,
            egress,
            hosts: Hosts::new(client.clone(), &args.hosts)?,
            resolver: args.resolver.unwrap_or_else(system),
            args: args.clone(),
            client,
        })
    }

    /// Acts at a provider, in less time than a claim lasts: this and what undoes it must end before
    /// the claim does. What takes longer has an outcome that nobody knows.
    pub(crate) async fn act<T>(
        &self,
        provider: &'static str,
        action: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let deadline = self.args.shared.periods.claim.mul_f64(0.4);
        let done = Box::pin(timeout(deadline, action)).await;
        let wait = self.args.quarantine;
        done.unwrap_or_else(|_elapsed| Err(Error::Overdue(provider, deadline, wait)))
    }

    /// That something takes its time.
    pub(crate) fn waiting(&self, code: Code, message: String, state: State) -> End {
        End::Waiting(Waiting {
            code,
            message,
            after: self.args.probe,
            state,
        })
    }
}

/// A credential that only its host is shown.
///
/// # Errors
/// The Secret cannot be read, is bound to other hosts, or does not have the key.
pub(crate) async fn credential(
    secrets: &SecretReader,
    key: &SecretKeyRef,
    host: &str,
) -> Result<SecretString, Error> {
    let reference = SecretRef {
        name: key.name.clone(),
        namespace: key.namespace.clone(),
    };

    let secret = secrets.read(&reference).await?;
    secret.for_host(host)?;

    Ok(secret.text(&key.key)?)
}

/// The failure of work that failed, as people see it.
pub(crate) fn failure(ended: &Result<End, Stop>) -> Option<status::Failure> {
    match ended {
        Err(Stop::Failed(failing)) => Some(failing.status()),
        _ => None,
    }
}

/// The system's first recursive server.
fn resolver(resolv_conf: &str) -> SocketAddr {
    let servers = resolv_conf
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver")?.trim().parse().ok());
    SocketAddr::new(
        servers
            .map(|address: IpAddr| address)
            .next()
            .unwrap_or(Ipv4Addr::LOCALHOST.into()),
        DNS,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_server_of_the_system_is_asked() {
        let conf = "search x.svc\n# nameserver 1.1.1.1\nnameserver 10.96.0.10\nnameserver fd00::1\noptions ndots:5\n";
        assert_eq!(resolver(conf), "10.96.0.10:53".parse().unwrap());
        assert_eq!(resolver(""), "127.0.0.1:53".parse().unwrap());
    }
}

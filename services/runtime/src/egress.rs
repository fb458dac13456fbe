//! Connections to hosts that users name: resolved first, then only to public addresses and those
//! that the operator allows, so that no URL reaches into the cluster or its cloud.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Certificate, ClientBuilder, Url, redirect};
use sequencer_api::private;
use thiserror::Error;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);

/// How long a server may be silent within an answer.
const SILENCE: Duration = Duration::from_secs(60);

/// Ranges that are nobody's public host either (IANA's special-purpose address registries), and
/// those that hold an IPv4 address of any range.
const SPECIAL: [&str; 16] = [
    "0.0.0.0/8",
    "127.0.0.0/8",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/3",
    "::/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "100::/64",
    "2001::/32",
    "2001:db8::/32",
    "2002::/16",
    "fc00::/6",
];

/// Settings of the services that connect to hosts which users name; to be flattened into a
/// service's own.
#[derive(Clone, Debug, Default, clap::Args)]
#[group(id = "egress")]
pub struct Args {
    /// More certificate authorities than the system's, PEM
    #[arg(long, env = "SEQUENCER_CA_BUNDLE")]
    pub ca_bundle: Option<PathBuf>,
    /// Private ranges that may be reached all the same, with commas: 10.1.0.0/16
    #[arg(long, env = "SEQUENCER_EGRESS_ALLOWED", value_delimiter = ',')]
    pub egress_allowed: Vec<IpNet>,
}

/// An address of a private range that the operator did not allow (E#6037).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{host} has the address {address}, which is private: the operator allows it with the chart's egress.allowedCIDRs"
)]
pub struct Denied {
    /// The host, as it was named.
    pub host: String,
    /// The address.
    pub address: IpAddr,
}

impl Denied {
    /// The denial behind an error of a client, if that is its cause.
    #[must_use]
    pub fn behind<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(LookupError::Denied(denied)) = error.downcast_ref() {
                return Some(denied);
            }
            next = match error
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref)
            {
                Some(inner) => Some(inner),
                None => error.source(),
            };
        }

        None
    }
}

/// A host cannot be connected to.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LookupError {
    /// All of its addresses are private.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// It has no address.
    #[error("{0} is not found")]
    NotFound(String, #[source] io::Error),
}

/// The authorities cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BundleError {
    /// There is no such file, or it is not readable.
    #[error("cannot read {0}")]
    Read(PathBuf, #[source] io::Error),
    /// It is no PEM.
    #[error("{0} holds no certificates in PEM")]
    Pem(PathBuf, #[source] reqwest::Error),
}

/// What may be reached, and whom to trust there. Clones share it.
#[derive(Clone, Debug)]
pub struct EgressGuard {
    allowed: Arc<[IpNet]>,
    private: Arc<[IpNet]>,
    roots: Arc<[Certificate]>,
}

impl EgressGuard {
    /// By these settings.
    ///
    /// # Errors
    /// The bundle cannot be read.
    pub fn new(args: &Args) -> Result<Self, BundleError> {
        crate::telemetry::tls();
        let roots = args.ca_bundle.as_deref().map_or(Ok(Vec::new()), roots)?;
        let private = private::IPV4
            .iter()
            .chain(&private::IPV6)
            .chain(&SPECIAL)
            .filter_map(|range| range.parse().ok())
            .collect();

        Ok(Self {
            allowed: args.egress_allowed.clone().into(),
            private,
            roots: roots.into(),
        })
    }

    /// A client for hosts that users name. It follows no redirect: whoever does has to check
    /// where it leads.
    pub fn http(&self) -> ClientBuilder {
        self.trusted().dns_resolver(Arc::new(self.clone()))
    }

    /// A client for hosts that the operator named, wherever they are.
    pub fn trusted(&self) -> ClientBuilder {
        reqwest::Client::builder()
            .tls_certs_merge(self.roots.iter().cloned())
            .no_proxy()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
    }

    /// That a URL does not name a private address itself; a host's addresses are checked when it
    /// is connected to.
    ///
    /// # Errors
    /// It does.
    pub fn check_url(&self, url: &Url) -> Result<(), Denied> {
        let host = url.host_str().unwrap_or_default();
        let literal = host.trim_start_matches('[').trim_end_matches(']');
        literal
            .parse()
            .map_or(Ok(()), |address| self.check(host, address))
    }

    /// That a host may be connected to at this address.
    ///
    /// # Errors
    /// The address is private, and not allowed.
    pub fn check(&self, host: &str, address: IpAddr) -> Result<(), Denied> {
        let address = match address {
            IpAddr::V6(mapped) => mapped.to_ipv4_mapped().map_or(address, IpAddr::V4),
            IpAddr::V4(_) => address,
        };

        let is_in = |ranges: &[IpNet]| ranges.iter().any(|range| range.contains(&address));
        if is_in(&self.private) && !is_in(&self.allowed) {
            Err(Denied {
                host: host.into(),
                address,
            })
        } else {
            Ok(())
        }
    }

    /// The addresses at which a host may be connected to: connect to one of these, and not to the
    /// name, which may have others a moment later.
    ///
    /// # Errors
    /// See [`LookupError`].
    pub async fn lookup(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, LookupError> {
        let found = tokio::net::lookup_host((host, port)).await;
        let found: Vec<_> = found
            .map_err(|error| LookupError::NotFound(host.into(), error))?
            .collect();
        let checked = found.iter().map(|address| self.check(host, address.ip()));
        let denied = checked.clone().find_map(Result::err);
        let good: Vec<_> = found
            .iter()
            .zip(checked)
            .filter_map(|(address, check)| check.is_ok().then_some(*address))
            .collect();

        match denied {
            Some(denied) if good.is_empty() => Err(denied.into()),
            _ => Ok(good),
        }
    }
}

impl Resolve for EgressGuard {
    fn resolve(&self, name: Name) -> Resolving {
        let egress = self.clone();
        Box::pin(async move {
            let found = egress.lookup(name.as_str(), 0).await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

fn roots(file: &Path) -> Result<Vec<Certificate>, BundleError> {
    let pem = std::fs::read(file).map_err(|error| BundleError::Read(file.into(), error))?;
    Certificate::from_pem_bundle(&pem).map_err(|error| BundleError::Pem(file.into(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn egress(allowed: &[&str]) -> EgressGuard {
        let egress_allowed = allowed.iter().map(|range| range.parse().unwrap()).collect();
        EgressGuard::new(&Args {
            ca_bundle: None,
            egress_allowed,
        })
        .unwrap()
    }

    fn allows(egress: &EgressGuard, address: &str) -> bool {
        egress.check("host", address.parse().unwrap()).is_ok()
    }

    #[test]
    fn every_private_range_is_refused_in_every_spelling() {
        let egress = egress(&[]);
        let all = private::IPV4.len() + private::IPV6.len() + SPECIAL.len();
        assert_eq!(egress.private.len(), all);
        for address in [
            "127.0.0.1",
            "10.96.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.2",
            "::1",
            "::",
            "fd00::1",
            "fe80::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "::10.0.0.1",
            "64:ff9b::a00:1",
        ] {
            assert!(!allows(&egress, address), "{address}");
        }

        for address in ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111"] {
            assert!(allows(&egress, address), "{address}");
        }
    }

    #[test]
    fn the_operator_allows_ranges() {
        let egress = egress(&["198.18.0.0/15"]);
        assert!(allows(&egress, "198.18.0.13") && allows(&egress, "::ffff:198.18.0.13"));
        assert!(!allows(&egress, "10.0.0.1"));
    }

    #[test]
    fn an_address_in_a_url_is_looked_at_too() {
        let egress = egress(&[]);

        for url in [
            "https://169.254.169.254/",
            "https://[::1]/",
            "https://0x7f.1/",
            "https://2130706433/",
        ] {
            assert!(egress.check_url(&url.parse().unwrap()).is_err(), "{url}");
        }

        assert!(
            egress
                .check_url(&"https://github.com/".parse().unwrap())
                .is_ok()
        );
    }

    #[tokio::test]
    async fn a_name_that_leads_to_a_private_address_is_refused_before_anything_is_sent() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = egress(&[]).http().build().unwrap();
        let error = client
            .get(format!("http://localhost:{port}/"))
            .send()
            .await
            .unwrap_err();

        assert_eq!(
            Denied::behind(&error).map(|denied| denied.host.as_str()),
            Some("localhost")
        );

        let accepted = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
        assert!(accepted.is_err(), "it was connected to");

        let allowed = egress(&["127.0.0.0/8", "::1/128"])
            .lookup("localhost", port)
            .await
            .unwrap();
        assert!(allowed.iter().all(|address| address.ip().is_loopback()) && !allowed.is_empty());
    }
}

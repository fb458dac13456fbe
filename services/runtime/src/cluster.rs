//! The Kubernetes API: a client with deadlines, reading the truth, and how status is written.

pub mod denial;
pub mod secret;

use std::fmt::Debug;
use std::time::Duration;

use axum::http::HeaderValue;
use axum::http::header::USER_AGENT;
use kube::client::ClientBuilder;
use kube::{Api, Client, Config, Resource};
use serde::de::DeserializeOwned;
use thiserror::Error;
use tower::timeout::TimeoutLayer;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);

/// How long an answer may take to begin. A watch answers at once and goes on.
const ANSWER: Duration = Duration::from_secs(10);

/// There is no client.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// Neither a service account nor a kubeconfig can be used.
    #[error("cannot find out how to reach the cluster")]
    Infer(#[from] kube::config::InferConfigError),
    /// Its certificates or address cannot be used.
    #[error("cannot make a client for the cluster")]
    Client(#[from] kube::Error),
}

/// A client of the service `name` for the cluster that this pod runs in, or that `KUBECONFIG`
/// names.
///
/// # Errors
/// See [`ClusterError`].
pub async fn connect(name: &'static str) -> Result<Client, ClusterError> {
    crate::telemetry::tls();
    Ok(client(Config::infer().await?, name)?)
}

/// A client with our deadlines. It tries nothing twice: what failed is tried again by its object's
/// next message. `name` is its field manager and stands in the audit log.
///
/// # Errors
/// Certificates or address cannot be used.
pub fn client(mut config: Config, name: &'static str) -> kube::Result<Client> {
    config
        .headers
        .push((USER_AGENT, HeaderValue::from_static(name)));
    config.connect_timeout = Some(CONNECT);
    config.default_retry = false;
    Ok(ClientBuilder::try_from(config)?
        .with_layer(&TimeoutLayer::new(ANSWER))
        .build())
}

/// The object as the API server has it now (a quorum read); nothing if it is gone, or if another
/// has its name.
///
/// # Errors
/// The API server does not answer, or refuses.
pub async fn current<K>(api: &Api<K>, name: &str, uid: &str) -> kube::Result<Option<K>>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    Ok(api
        .get_opt(name)
        .await?
        .filter(|found| found.meta().uid.as_deref() == Some(uid)))
}

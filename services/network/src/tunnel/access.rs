//! What a tunnel is made with, and deleted with.

use secrecy::SecretString;
use sequencer_api::Workspace;
use sequencer_api::code::Code;
use sequencer_api::secret::SecretKeyRef;
use sequencer_api::status::State;
use sequencer_api::stored::Stored as _;
use sequencer_runtime::section::End;

use super::cloudflare::Tunnels;
use super::connector::Connector;
use crate::cloudflare::Cloudflare;
use crate::service::Service;

/// What is still there, in messages.
pub(super) const CONNECTOR: &str = "the connector";

impl Service {
    /// The tunnels of an account. `secret` is what messages call the Secret of the token.
    pub(super) fn tunnels(&self, token: SecretString, account: &str, secret: String) -> Tunnels {
        let api = Cloudflare::new(self.http.clone(), &self.args.cloudflare_url, token);
        Tunnels::new(api, account, secret, self.args.quarantine)
    }

    /// The connector of a Workspace.
    pub(super) fn connector(&self, workspace: &Workspace) -> Connector {
        let namespace = &self.args.tunnels_namespace;
        Connector::new(self.client.clone(), namespace, workspace)
    }

    /// That a deletion takes its time.
    pub(super) fn still_there(&self, what: &'static str, state: State) -> End {
        let message = format!("still being deleted: {what}");
        self.waiting(Code::ExternalDeletionPending, message, state)
    }
}

/// A Secret that a Workspace refers to, in messages.
pub(super) fn secret_name(workspace: &Workspace, key: &SecretKeyRef) -> String {
    let namespace = key.namespace.as_deref();
    let namespace = namespace.unwrap_or_else(|| workspace.namespace_str());
    format!("{namespace}/{}", key.name)
}

//! References to Secrets.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A Secret of this namespace or, with its owner's consent and the operator's grant, of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The Secret's namespace; the object's own if absent.
    #[schemars(length(min = 1, max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// One key of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The Secret's namespace; the object's own if absent.
    #[schemars(length(min = 1, max = 63))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The key in it.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// How the keys of a credential's Secret are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum AuthScheme {
    /// A name and a password.
    KeyPair,
    /// A token or a private key.
    Token,
    /// Amazon's registry: keys, or the pod's identity.
    Aws,
    /// Google's registry: a service account's key, or the pod's identity.
    Google,
    /// Azure's registry: a client's secret, or the pod's identity.
    Azure,
}

/// How to log in to a registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.secretRef) || self.authScheme in ['aws', 'google', 'azure']")
    .message("E#1007 secretRef: needed with authScheme keyPair and token; name the Secret that holds the login"))]
pub struct Credentials {
    /// How the Secret's keys are read.
    pub auth_scheme: AuthScheme,
    /// The Secret; may be absent where the pod's own identity is granted access.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
}

//! What the operator decided, as the chart has it.

use std::time::Duration;

use sequencer_api::host::{Schemes, Zones};
use sequencer_runtime::hosts::ProvidersError;

use crate::args::Args;
use crate::pools::OpenPool;

/// What the operator decided.
#[derive(Clone, Debug)]
pub struct Chart {
    pub namespace: String,
    /// Who serves which zone, and how hosts in them are called.
    pub zones: Zones,
    /// How many seconds resolvers keep a record.
    pub dns_ttl: i32,
    pub schemes: Schemes,
    /// How long the network service may still delete what an administrator gave up.
    pub abandon_after: Duration,
    /// What Workspaces may have.
    pub limits: Limits,
    /// The pools of builders.
    pub pools: Vec<OpenPool>,
}

/// What the operator allows.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The ttl of a Workspace that names none.
    pub ttl: Option<Duration>,
    pub max_ttl: Duration,
    /// Workspaces in a namespace; 0 is any number.
    pub workspaces: usize,
    /// Builds of a namespace at once; 0 is any number.
    pub builds: usize,
}

impl TryFrom<&Args> for Chart {
    type Error = ProvidersError;

    fn try_from(args: &Args) -> Result<Self, ProvidersError> {
        Ok(Self {
            namespace: args.hosts.namespace.clone(),
            zones: args.hosts.zones()?,
            dns_ttl: args.dns_ttl,
            schemes: Schemes::from(&args.urls),
            abandon_after: args.resync,
            limits: Limits {
                ttl: args.workspace_ttl,
                max_ttl: args.max_ttl,
                workspaces: args.workspaces_per_namespace,
                builds: args.builds_per_namespace,
            },
            pools: args.pools.clone(),
        })
    }
}

#[cfg(test)]
impl Default for Chart {
    fn default() -> Self {
        Self {
            namespace: "release".into(),
            zones: Zones::default(),
            dns_ttl: 60,
            schemes: Schemes {
                tunnel: "https".into(),
                ingress_tls: true,
            },
            abandon_after: Duration::ZERO,
            limits: Limits {
                ttl: None,
                max_ttl: Duration::MAX,
                workspaces: 0,
                builds: 0,
            },
            pools: vec!["default".parse().unwrap()],
        }
    }
}

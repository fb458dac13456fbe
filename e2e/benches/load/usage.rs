//! What processes take, from proc(5).

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use lab::cpu;

use crate::place::Place;

/// The API server's process.
pub(crate) const API_SERVER: &str = "kube-apiserver";

/// Every process whose usage is told.
pub(crate) const PROCESSES: [&str; 8] = [
    "watcher",
    "builder",
    "registry-pusher",
    "network",
    "deployer",
    "nats-server",
    API_SERVER,
    "etcd",
];

/// Our own services among them.
pub(crate) const SERVICES: usize = 5;

/// What the processes of each name took together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    /// CPU time.
    pub(crate) cpu: BTreeMap<&'static str, Duration>,
    /// Resident memory, in bytes.
    pub(crate) memory: BTreeMap<&'static str, u64>,
    /// Over how long.
    pub(crate) over: Duration,
}

impl Usage {
    /// What they took since they began.
    pub(crate) async fn now(place: &Place<'_>) -> Result<Self> {
        let mut usage = Self::default();
        for (name, processes) in place.processes().await? {
            let cpu = processes.iter().map(|pid| cpu::of_tree(*pid)).sum();
            let memory = processes.iter().map(|pid| cpu::resident(*pid)).sum();
            usage.cpu.insert(name, cpu);
            usage.memory.insert(name, memory);
        }
        Ok(usage)
    }

    /// What they took since then.
    pub(crate) fn since(mut self, before: &Self) -> Self {
        for (name, cpu) in &mut self.cpu {
            let before = before.cpu.get(name).copied().unwrap_or_default();
            *cpu = cpu.saturating_sub(before);
        }
        self
    }

    pub(crate) fn cpu_of(&self, name: &str) -> Duration {
        self.cpu.get(name).copied().unwrap_or_default()
    }

    pub(crate) fn memory_of(&self, name: &str) -> u64 {
        self.memory.get(name).copied().unwrap_or_default()
    }
}

/// What they take while nothing is asked of them.
pub(crate) async fn over(place: &Place<'_>, time: Duration) -> Result<Usage> {
    let before = Usage::now(place).await?;
    tokio::time::sleep(time).await;
    let mut usage = Usage::now(place).await?.since(&before);
    usage.over = time;
    Ok(usage)
}

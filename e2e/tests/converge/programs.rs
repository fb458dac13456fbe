//! The services, as processes that are killed and started again.

use std::collections::HashMap;
use std::fs::File;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use tokio::sync::Mutex;

use crate::world::RELEASE;

/// The cluster's id.
const ID: &str = "test";

/// A service that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Service {
    Watcher,
    Deployer,
    Network,
}

impl Service {
    pub(crate) const ALL: [Self; 3] = [Self::Watcher, Self::Deployer, Self::Network];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Watcher => "watcher",
            Self::Deployer => "deployer",
            Self::Network => "network",
        }
    }

    /// The port of its probes.
    fn port(self) -> u16 {
        match self {
            Self::Watcher => 8081,
            Self::Deployer => 8082,
            Self::Network => 8083,
        }
    }
}

/// How a service reaches what it talks to.
#[derive(Clone, Debug)]
pub(crate) struct Ways {
    pub(crate) kubeconfig: PathBuf,
    pub(crate) nats: String,
    /// Cloudflare's API.
    pub(crate) cloudflare: String,
}

/// What all services are told, and which of them run.
#[derive(Debug)]
pub(crate) struct Programs {
    pub(crate) address: IpAddr,
    /// Of the logs.
    pub(crate) folder: PathBuf,
    pub(crate) providers: PathBuf,
    /// Flags of the network service alone.
    pub(crate) network: Vec<String>,
    /// By service.
    pub(crate) ways: HashMap<Service, Ways>,
    pub(crate) running: Mutex<HashMap<Service, Child>>,
}

impl Programs {
    /// Ends a service wherever it is, if it runs, and starts it again.
    pub(crate) async fn restart(&self, service: Service) -> Result<()> {
        let mut running = self.running.lock().await;
        if let Some(mut child) = running.remove(&service) {
            child.kill()?;
            child.wait()?;
        }
        running.insert(service, self.start(service)?);
        Ok(())
    }

    fn start(&self, service: Service) -> Result<Child> {
        let name = service.name();
        let ways = self.ways.get(&service).context("no ways")?;
        let program = std::env::current_exe()?;
        let program = program.ancestors().nth(2).context("no folder")?.join(name);
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log(service))?;

        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig=KILL", "--"]).arg(program);
        command.args(["--cluster-id", ID, "--pod=a", "--namespace", RELEASE]);
        command.args(["--nats-url", &ways.nats]);
        command.args([
            "--log-level=info",
            "--ingress-tls=false",
            "--min-backoff=300ms",
            "--claim=15s",
            "--claim-renew=5s",
            "--ack-wait=5s",
        ]);
        command
            .arg("--admin")
            .arg(format!("{}:{}", self.address, service.port()));
        command.arg("--dns-providers").arg(&self.providers);
        match service {
            Service::Watcher => command.arg("--resync=3s"),
            Service::Deployer => command.args(["--ingress-class=played", "--resync=3s"]),
            Service::Network => command
                .args(&self.network)
                .arg(format!("--cloudflare-url={}", ways.cloudflare)),
        };
        command
            .env("KUBECONFIG", &ways.kubeconfig)
            .stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log);

        command
            .spawn()
            .with_context(|| format!("cannot start {name}"))
    }

    fn log(&self, service: Service) -> PathBuf {
        let log = format!("logs/{}.log", service.name());
        self.folder.join(log)
    }

    /// What the services warned of last.
    pub(crate) fn logs(&self) -> Result<String> {
        let log = |service: Service| -> Result<String> {
            let text = std::fs::read_to_string(self.log(service))?;
            let warnings = text
                .lines()
                .filter(|line| line.contains("WARN") || line.contains("ERROR"));
            let warnings: Vec<_> = warnings.collect();
            let last = warnings.iter().rev().take(30).rev();
            let last: Vec<_> = last.copied().collect();
            Ok(format!("{}:\n{}", service.name(), last.join("\n")))
        };
        let logs: Result<Vec<_>> = Service::ALL.map(log).into_iter().collect();
        Ok(logs?.join("\n"))
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        for child in self.running.get_mut().values_mut() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

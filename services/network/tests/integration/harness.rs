//! What the tests share: an API server, a Cloudflare, and the service under test.

mod cloudflare;
mod objects;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Child, Command as Run};

use anyhow::{Result, ensure};
use clap::Parser as _;
use fake_cloudflare::{Running, Settings};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, Resource};
use lab::alone::Alone;
use lab::secrets::Secrets;
use lab::testing::layout;
use sequencer_api::{DNSRecord, Workspace};
use sequencer_network::args::{Args, NAME};
use sequencer_network::service::Service;
use sequencer_proto::topics::{Command, Verb};
use sequencer_proto::v1::Trigger;
use sequencer_runtime::bus::{Delivery, Outcome};
use sequencer_runtime::cluster;
use serde_json::json;

use cloudflare::stand_in;

pub(crate) use lab::until::eventually as until;
pub(crate) use objects::Host;

/// The release namespace.
pub(crate) const RELEASE: &str = "sequencer-system";
/// Where connectors are.
pub(crate) const TUNNELS: &str = "sequencer-tunnels";
/// Where the cluster's bind9 is.
pub(crate) const BIND: &str = "198.18.0.14:53";
/// The zone of the stand-in.
pub(crate) const ZONE: &str = "yourdomain.com";

/// Another account that the token may use.
pub(crate) const SECOND_ACCOUNT: &str = "fedcba9876543210fedcba9876543210";

/// Servers of its own, and the service.
pub(crate) struct Harness {
    pub(crate) client: Client,
    pub(crate) cloud: Running,
    pub(crate) settings: Settings,
    pub(crate) secrets: Secrets,
    pub(crate) service: Service,
    /// The service's.
    own: Client,
    args: Vec<String>,
    kubeconfig: PathBuf,
    alone: Alone,
}

impl Harness {
    pub(crate) async fn new() -> Result<Self> {
        let layout = layout()?;
        let mut alone = Alone::new(&layout)?;
        let file = alone.control_plane_with_kinds()?;
        let kubeconfig = Kubeconfig::read_from(&file)?;

        drop(rustls::crypto::ring::default_provider().install_default());

        let config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let client = cluster::client(config.clone(), "test")?;
        let own = cluster::client(config, NAME)?;

        prepare(&client).await?;
        let (cloud, settings) = stand_in(&alone).await?;
        let secrets = Secrets::ensure(&layout)?;
        let args = args(&alone, &cloud)?;
        let service = Service::new(own.clone(), &Args::try_parse_from(&args)?)?;
        let harness = Self {
            client,
            own,
            cloud,
            settings,
            secrets,
            service,
            args,
            kubeconfig: file,
            alone,
        };

        harness
            .secret(RELEASE, "tsig", "secret", &harness.secrets.tsig)
            .await?;
        harness
            .secret(
                RELEASE,
                "dns",
                "apiKey",
                &format!("{}\n", harness.settings.token),
            )
            .await?;
        Ok(harness)
    }

    /// Another replica: the same settings, and these flags.
    pub(crate) fn replica(&self, flags: &[&str]) -> Result<Service> {
        let name = |arg: &str| arg.split('=').next().map(str::to_owned);
        let replaced = |arg: &&str| flags.iter().any(|flag| name(flag) == name(arg));
        let args = self
            .args
            .iter()
            .map(String::as_str)
            .filter(|arg| !replaced(arg))
            .chain(flags.iter().copied());

        Ok(Service::new(
            self.own.clone(),
            &Args::try_parse_from(args)?,
        )?)
    }

    /// Waits until the audit log has just these writes of the service, by how often what was
    /// written.
    pub(crate) async fn wrote<const N: usize>(&self, expected: [(&str, i64); N]) -> Result<()> {
        let expected = expected
            .map(|(what, times)| (what.to_owned(), times as usize))
            .into();
        until("the writes are those that are expected", async || {
            let written = self.alone.writes(NAME)?;
            ensure!(written == expected, "{written:#?}");
            Ok(())
        })
        .await
    }

    /// A NATS, and its URL.
    pub(crate) fn nats(&mut self) -> Result<String> {
        self.alone.nats()
    }

    /// The service as a process of its own, which ends with the value.
    pub(crate) fn process(&self, pod: &str, nats: &str) -> Result<Process> {
        let own = ["--pod", "--nats-url", "--admin"];
        let shared = self
            .args
            .iter()
            .skip(1)
            .filter(|arg| !own.iter().any(|own| arg.starts_with(&format!("{own}="))));
        let mut command = Run::new(env!("CARGO_BIN_EXE_network"));
        command.args(shared).args([
            "--pod",
            pod,
            "--nats-url",
            nats,
            "--admin",
            "127.0.0.1:0",
            "--log-level",
            "warn",
        ]);
        command.env("KUBECONFIG", &self.kubeconfig);
        Ok(Process(command.spawn()?))
    }

    /// An address of this machine that only this test has.
    pub(crate) fn address(&self) -> IpAddr {
        self.alone.address
    }

    /// Has the service look at a DNSRecord.
    pub(crate) async fn dns(&self, record: &DNSRecord, trigger: Trigger) -> Outcome {
        self.service
            .handle(delivery(Verb::Dns, RELEASE, record, trigger))
            .await
    }
}

/// A running service.
pub(crate) struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A command about an object as it was seen.
pub(crate) fn delivery<K: Resource>(
    verb: Verb,
    namespace: &str,
    object: &K,
    trigger: Trigger,
) -> Delivery {
    let uid = object.meta().uid.as_deref().unwrap().parse().unwrap();
    let command = Command::new(verb, None, uid, uid).unwrap();
    let payload = command.payload(namespace, object.meta().name.as_deref().unwrap(), trigger);

    Delivery {
        command,
        payload,
        again: false,
    }
}

async fn prepare(client: &Client) -> Result<()> {
    for namespace in [RELEASE, TUNNELS, "team-a", "other"] {
        let object = serde_json::from_value(json!({"metadata": {"name": namespace}}))?;
        Api::<Namespace>::all(client.clone())
            .create(&PostParams::default(), &object)
            .await?;
    }
    let (records, workspaces): (Api<DNSRecord>, Api<Workspace>) = (
        Api::namespaced(client.clone(), RELEASE),
        Api::namespaced(client.clone(), RELEASE),
    );
    until("the kinds are served", async || {
        records.list(&kube::api::ListParams::default()).await?;
        workspaces.list(&kube::api::ListParams::default()).await?;
        Ok(())
    })
    .await
}

fn args(alone: &Alone, cloud: &Running) -> Result<Vec<String>> {
    let providers = alone.folder().join("providers.yaml");
    std::fs::write(
        &providers,
        format!(
            "- {{name: main, zones: [{ZONE}], namespaces: ['team-*', {RELEASE}], cloudflare: {{apiTokenSecretRef: {{name: dns, key: apiKey}}}}}}
- {{name: lab, zones: [preview.test], rfc2136: {{nameserver: '{BIND}', tsigKeyName: seq, tsigSecretSecretRef: {{name: tsig, key: secret}}}}}}
- {{name: wild, zones: [wild.test], wildcard: {{}}}}
"
        ),
    )?;
    let values = [
        ("--pod", "network-a".into()),
        ("--cluster-id", "c1".into()),
        ("--namespace", RELEASE.into()),
        ("--dns-providers", providers.display().to_string()),
        (
            "--ca-bundle",
            alone.folder().join("cloudflare.crt").display().to_string(),
        ),
        ("--egress-allowed", format!("{}/32", alone.address)),
        ("--resolver", cloud.addresses().dns.to_string()),
        (
            "--cloudflare-url",
            format!("https://{}/client/v4", cloud.addresses().api),
        ),
        ("--probe", "200ms".into()),
        ("--quarantine", "100ms".into()),
        ("--min-backoff", "300ms".into()),
        ("--claim", "40s".into()),
        ("--connector-image", "cloudflare/cloudflared:latest".into()),
    ];
    Ok(["network".to_owned()]
        .into_iter()
        .chain(values.map(|(flag, value)| format!("{flag}={value}")))
        .collect())
}

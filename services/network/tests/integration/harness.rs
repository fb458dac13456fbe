//! What the tests share: an API server, a Cloudflare, and the service under test.

use sequencer_proto::v1::Trigger;
use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command as Run};

use anyhow::{Context as _, Result, ensure};
use clap::Parser as _;
use fake_cloudflare::{Running, Settings, serve};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, Resource, ResourceExt as _};
use lab::alone::Alone;
use lab::secrets::Secrets;
use lab::testing::layout;
use sequencer_api::status::dns_record::RecordSection;
use sequencer_api::{DNSRecord, Workspace};
use sequencer_network::args::{Args, NAME};
use sequencer_network::service::Service;
use sequencer_proto::topics::{Command, Verb};
use sequencer_runtime::bus::{Delivery, Outcome};
use sequencer_runtime::cluster;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

pub(crate) use lab::until::eventually as until;

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

    /// Makes a Secret, or gives it another value.
    pub(crate) async fn secret(
        &self,
        namespace: &str,
        name: &str,
        key: &str,
        value: &str,
    ) -> Result<()> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let object = json!({"metadata": {"name": name}, "stringData": {key: value}});

        match api.get_opt(name).await? {
            None => drop(
                api.create(&PostParams::default(), &serde_json::from_value(object)?)
                    .await?,
            ),
            Some(_) => drop(
                api.patch(name, &PatchParams::default(), &Patch::Merge(object))
                    .await?,
            ),
        }

        Ok(())
    }

    pub(crate) fn api<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    pub(crate) async fn make<K>(&self, namespace: &str, object: Value) -> Result<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
        K::DynamicType: Default,
    {
        Ok(self
            .api(namespace)
            .create(&PostParams::default(), &serde_json::from_value(object)?)
            .await?)
    }

    /// A Workspace, without a watcher that would look at it.
    pub(crate) async fn workspace(&self, namespace: &str, name: &str) -> Result<Workspace> {
        let object = json!({
            "apiVersion": "se.quencer.io/v1alpha1", "kind": "Workspace", "metadata": {"name": name},
            "spec": {"components": [{"name": "a", "template": {"containers": [{"name": "a", "image": "a"}]}}]},
        });
        self.make(namespace, object).await
    }

    /// A DNSRecord as the watcher makes it, for the Workspace of this uid.
    pub(crate) async fn record(&self, host: &Host, kind: &str, target: &str) -> Result<DNSRecord> {
        let object = json!({
            "apiVersion": "se.quencer.io/v1alpha1", "kind": "DNSRecord",
            "metadata": {
                "name": format!("{}.{}.{}", host.label, host.zone, kind.to_lowercase()), "finalizers": ["se.quencer.io/dns"],
                "labels": {
                    "se.quencer.io/ws-uid": host.owner, "se.quencer.io/workspace": "w",
                    "se.quencer.io/workspace-namespace": host.namespace,
                },
            },
            "spec": {"zone": host.zone, "name": host.label, "recordType": kind, "target": target},
        });
        self.make(RELEASE, object).await
    }

    /// Holds the hosts of a Workspace, as the watcher does before anything leads to them.
    pub(crate) async fn hold(&self, workspace: &Workspace) -> Result<()> {
        for host in workspace.hosts("c1") {
            let owner = (workspace.namespace().unwrap(), workspace.uid().unwrap());
            self.lock(&host, "CNAME", &owner.0, &owner.1).await?;
        }
        Ok(())
    }

    /// Makes the record that only holds a host.
    pub(crate) async fn lock(
        &self,
        host: &str,
        kind: &str,
        namespace: &str,
        owner: &str,
    ) -> Result<DNSRecord> {
        let (label, zone) = host.split_once('.').context("no host")?;
        let object = json!({
            "apiVersion": "se.quencer.io/v1alpha1", "kind": "DNSRecord",
            "metadata": {
                "name": format!("{host}.{}", kind.to_lowercase()),
                "labels": {"se.quencer.io/ws-uid": owner, "se.quencer.io/workspace-namespace": namespace},
            },
            "spec": {"zone": zone, "name": label, "recordType": kind},
        });
        self.make(RELEASE, object).await
    }

    /// Has the service look at a DNSRecord.
    pub(crate) async fn dns(&self, record: &DNSRecord, trigger: Trigger) -> Outcome {
        self.service
            .handle(delivery(Verb::Dns, RELEASE, record, trigger))
            .await
    }

    /// What is recorded of a DNSRecord.
    pub(crate) async fn recorded(&self, record: &DNSRecord) -> Result<RecordSection> {
        let found: DNSRecord = self.api(RELEASE).get(&record.name_any()).await?;
        Ok(found.status.context("no status")?.record)
    }

    /// Begins the deletion.
    pub(crate) async fn delete(&self, record: &DNSRecord) -> Result<()> {
        let api: Api<DNSRecord> = self.api(RELEASE);
        drop(
            api.delete(&record.name_any(), &DeleteParams::default())
                .await?,
        );
        Ok(())
    }

    /// Changes an object's spec or metadata.
    pub(crate) async fn patch<K>(&self, namespace: &str, object: &K, patch: Value) -> Result<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
        K::DynamicType: Default,
    {
        Ok(self
            .api(namespace)
            .patch(
                &object.name_any(),
                &PatchParams::default(),
                &Patch::Merge(patch),
            )
            .await?)
    }

    /// What the stand-in counted of an object: `records` or `tunnels`, and `creates`, `updates` or
    /// `deletes`.
    pub(crate) async fn counted(&self, what: &str, event: &str, name: &str) -> Result<u64> {
        Ok(self.admin("counters").await?[what][event][name]
            .as_u64()
            .unwrap_or(0))
    }

    pub(crate) async fn admin(&self, page: &str) -> Result<Value> {
        let url = format!("http://{}/{page}", self.cloud.addresses().admin);
        Ok(reqwest::get(url).await?.error_for_status()?.json().await?)
    }

    /// What strikes the calls from now on.
    pub(crate) async fn faults(&self, faults: Value) -> Result<()> {
        self.tell("faults", faults).await
    }

    pub(crate) async fn tell(&self, page: &str, body: Value) -> Result<()> {
        let url = format!("http://{}/{page}", self.cloud.addresses().admin);
        let answer = reqwest::Client::new().put(url).json(&body).send().await?;
        ensure!(answer.status().is_success(), "{page}: {}", answer.status());
        Ok(())
    }

    /// A call of the test's own to the stand-in's API.
    pub(crate) async fn call(
        &self,
        method: reqwest::Method,
        path: &str,
        body: &Value,
    ) -> Result<Value> {
        let client = reqwest::Client::builder()
            .tls_danger_accept_invalid_certs(true)
            .build()?;
        let url = format!("https://{}/client/v4{path}", self.cloud.addresses().api);
        let answer = client
            .request(method, url)
            .bearer_auth(&self.settings.token)
            .json(body)
            .send()
            .await?;
        let answer: Value = answer.json().await?;
        ensure!(answer["success"] == json!(true), "{answer}");
        Ok(answer["result"].clone())
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

/// A host of a test's own.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) label: String,
    pub(crate) zone: &'static str,
    pub(crate) namespace: &'static str,
    pub(crate) owner: String,
}

impl Host {
    pub(crate) fn new(zone: &'static str) -> Self {
        let label = format!("t-{}", &Uuid::new_v4().simple().to_string()[..12]);
        Self {
            label,
            zone,
            namespace: "team-a",
            owner: Uuid::new_v4().to_string(),
        }
    }

    pub(crate) fn fqdn(&self) -> String {
        format!("{}.{}", self.label, self.zone)
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

/// A Cloudflare on this test's own address, with the real ports of DNS and the edge.
async fn stand_in(alone: &Alone) -> Result<(Running, Settings)> {
    let names = [alone.address.to_string(), format!("*.{ZONE}"), ZONE.into()];
    let made = rcgen::generate_simple_self_signed(names)?;
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    std::fs::write(alone.folder().join("cloudflare.crt"), &certificate)?;
    let at = |port: u16| SocketAddr::new(alone.address, port);
    let IpAddr::V4(edge_address) = alone.address else {
        anyhow::bail!("no IPv4 address")
    };

    let settings = Settings {
        api: at(8443),
        dns: at(53),
        edge_http: at(80),
        edge_https: at(443),
        tunnel: at(7844),
        admin: at(8080),
        edge_address,
        second_account: Some(SECOND_ACCOUNT.into()),
        ..Settings::local(certificate, key)
    };

    Ok((serve(settings.clone()).await?, settings))
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

//! What the tests share: an API server with the kinds, registries, the service, and what a user
//! makes.

use sequencer_proto::v1::Trigger;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use clap::Parser as _;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use kube::api::{Patch, PatchParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt as _};
use lab::alone::Alone;
use lab::layout::text;
use lab::parts::registry::login;
use lab::secrets::Secrets;
use lab::testing::layout;
use sequencer_api::Build;
use sequencer_api::status::Section;
use sequencer_api::status::State;
use sequencer_api::status::build::{ImageSection, PublishSection};
use sequencer_proto::topics::{Command as BusCommand, Verb};
use sequencer_registry_pusher::Service;
use sequencer_registry_pusher::args::{Args, NAME};
use sequencer_runtime::bus::{Delivery, Outcome};
use sequencer_runtime::cluster;
use sequencer_runtime::registry::Digest;
use sequencer_runtime::section::StatusPatch;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::stage::{Own, Stage, Staged, USER};

pub(crate) use lab::until::holds as until;

/// Where Builds are.
pub(crate) const NAMESPACE: &str = "team";

/// The commit of every Build.
const COMMIT: &str = "4f2a91c0d3e84f2a91c0d3e84f2a91c0d3e84f2a";

/// Where images are staged.
const STAGED: &str = "b/team/key";

/// The tag that stays with the digest.
pub(crate) const LASTING: &str = "seq-4f2a91c0d3e8-tn6r3b";

pub(crate) struct Harness {
    pub(crate) client: Client,
    /// With the service's rights and no more.
    service: Client,
    pub(crate) builds: Api<Build>,
    pub(crate) staging: Own,
    /// The password of every registry of the test's own.
    pub(crate) password: String,
    pub(crate) cluster: Secrets,
    /// What tells this test's repositories in shared registries from others'.
    pub(crate) id: String,
    http: reqwest::Client,
    bundle: PathBuf,
    pub(crate) alone: Alone,
}

impl Harness {
    pub(crate) async fn new() -> Result<Self> {
        let running = layout()?;
        let mut alone = Alone::new(&running)?;
        drop(sequencer_runtime::egress::EgressGuard::new(
            &sequencer_runtime::egress::Args::default(),
        )?);
        let config = Kubeconfig::read_from(alone.control_plane_with_kinds()?)?;
        let config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
        let mut narrow = config.clone();
        narrow.auth_info.impersonate = Some(NAME.into());
        let (client, service) = (
            cluster::client(config, "tester")?,
            cluster::client(narrow, NAME)?,
        );
        let builds: Api<Build> = Api::namespaced(client.clone(), NAMESPACE);
        until("Builds are served", async || {
            Ok(builds.list(&kube::api::ListParams::default()).await.is_ok())
        })
        .await?;
        let namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}}))?;
        Api::<Namespace>::all(client.clone())
            .create(&PostParams::default(), &namespace)
            .await?;
        grant(&client).await?;

        let id = format!("{:08x}", rand::random::<u32>());
        let password = format!("SEQCANARY-{id}");
        let staging = Own::start(&mut alone, "staging", 5000, &password)?;
        let bundle = alone.folder().join("etc/bundle.crt");
        let authorities = [alone.ca(), text(running.pki("ca.crt"))].map(std::fs::read_to_string);
        std::fs::write(
            &bundle,
            authorities
                .into_iter()
                .collect::<Result<Vec<_>, _>>()?
                .join("\n"),
        )?;
        let http = reqwest::Client::builder().no_proxy().build()?;
        let cluster = Secrets::ensure(&running)?;
        Ok(Self {
            client,
            service,
            builds,
            staging,
            password,
            cluster,
            id,
            http,
            bundle,
            alone,
        })
    }

    /// Another registry of the test's own.
    pub(crate) fn own(&mut self, name: &'static str, port: u16) -> Result<Own> {
        Own::start(&mut self.alone, name, port, &self.password)
    }

    /// Another registry of the test's own, and a Build's only entry for it.
    pub(crate) async fn entry(&mut self) -> Result<(Own, Value)> {
        let own = self.own("own", 5001)?;
        self.secret("own", USER, &self.password).await?;
        let credentials = json!({"authScheme": "keyPair", "secretRef": {"name": "own"}});
        let entry = json!([{"url": format!("{}/app", own.address), "tags": ["dev"], "credentials": credentials}]);
        Ok((own, entry))
    }

    /// The same with an image of so many layers of so many bytes, which is staged, and its Build.
    pub(crate) async fn entry_with_build(
        &mut self,
        layers: usize,
        size: usize,
    ) -> Result<(Own, Staged, Build)> {
        let (own, entry) = self.entry().await?;
        let staged = self.stage(layers, size).await?;
        let build = self.build(&staged.digest, &entry).await?;
        Ok((own, staged, build))
    }

    /// The service as this pod, with more flags.
    pub(crate) fn service(&self, pod: &str, flags: &[&str]) -> Result<Arc<Service>> {
        let file = self.alone.folder().join("etc/staging-login");
        std::fs::write(&file, format!("{USER}:{}\n", self.password))?;

        let args = [
            NAME.into(),
            format!("--pod={pod}"),
            format!("--staging-url=http://{}", self.staging.address),
            format!("--staging-login={}", text(&file)),
            format!("--ca-bundle={}", text(&self.bundle)),
            "--egress-allowed=127.0.0.0/8,198.18.0.0/15".into(),
        ];
        let args = args
            .into_iter()
            .chain(flags.iter().map(|flag| (*flag).to_owned()));

        Ok(Arc::new(Service::new(
            self.service.clone(),
            &Args::try_parse_from(args)?,
        )?))
    }

    /// Stages an index of an image with so many layers of so many bytes.
    pub(crate) async fn stage(&self, layers: usize, size: usize) -> Result<Staged> {
        let stage = Stage {
            http: &self.http,
            staging: &self.staging,
            password: &self.password,
            path: STAGED,
        };
        stage.index(layers, size).await
    }

    /// A Secret with a name and a password.
    pub(crate) async fn secret(&self, name: &str, user: &str, password: &str) -> Result<()> {
        self.secret_of(
            name,
            &json!({"accessKey": user, "secretToken": format!("{password}\n")}),
        )
        .await
    }

    pub(crate) async fn secret_of(&self, name: &str, values: &Value) -> Result<()> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), NAMESPACE);
        let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values});
        api.patch(
            name,
            &PatchParams::apply("tester").force(),
            &Patch::Apply(object),
        )
        .await?;
        Ok(())
    }

    /// A Build of a staged image with these registries.
    pub(crate) async fn build(&self, digest: &Digest, registries: &Value) -> Result<Build> {
        let build: Build = serde_json::from_value(json!({
            "apiVersion": "se.quencer.io/v1alpha1", "kind": "Build",
            "metadata": {"name": "w-myapp-4f2a91c-tn6r3b"},
            "spec": {
                "name": "myapp", "containerRegistries": registries,
                "importContent": [{"contentFrom": {"git": {"url": "https://github.com/a/b", "commit": COMMIT}}}],
            },
        }))?;
        let build = self.builds.create(&PostParams::default(), &build).await?;
        let image = ImageSection {
            section: Section {
                state: Some(State::Completed),
                ..Section::default()
            },
            digest: Some(digest.to_string()),
            staging: Some(STAGED.into()),
            ..ImageSection::default()
        };

        let patch =
            StatusPatch::new(&build.uid().unwrap_or_default()).section("image", 0, &image)?;
        Ok(patch.apply(&self.builds, &build.name_any()).await?)
    }

    /// The section as it is now.
    pub(crate) async fn publish(&self, build: &Build) -> Result<PublishSection> {
        let build = self.builds.get(&build.name_any()).await?;
        Ok(build.status.context("no status")?.publish)
    }

    /// That a repository has all of an image, as another client sees it.
    pub(crate) fn check(&self, repository: &str, tags: &[&str], staged: &Staged) -> Result<()> {
        for tag in tags {
            let found = self.crane(&["digest", &format!("{repository}:{tag}")])?;
            ensure!(
                String::from_utf8(found)?.trim() == staged.digest.as_str(),
                "{repository}:{tag} is another"
            );
        }
        let manifests = staged.manifests.iter().map(|digest| ("manifest", digest));
        for (kind, digest) in manifests.chain(staged.blobs.iter().map(|digest| ("blob", digest))) {
            let content = self.crane(&[kind, &format!("{repository}@{digest}")])?;
            ensure!(
                Digest::of(&content) == *digest,
                "{repository}@{digest} is another"
            );
        }
        Ok(())
    }

    fn crane(&self, args: &[&str]) -> Result<Vec<u8>> {
        let folder = self.alone.folder().join("docker");
        std::fs::create_dir_all(&folder)?;
        let own = |port: u16| format!("{}:{port}", self.alone.address);
        let mut auths = serde_json::Map::new();
        for (host, user, password) in [
            (own(5001), USER, &self.password),
            (own(5002), USER, &self.password),
            (
                "registry.test".into(),
                "company",
                &self.cluster.registry_password,
            ),
        ] {
            let one: Value = serde_json::from_str(&login(&host, user, password))?;
            auths.extend(
                one.get("auths")
                    .and_then(Value::as_object)
                    .cloned()
                    .unwrap_or_default(),
            );
        }
        std::fs::write(
            folder.join("config.json"),
            json!({"auths": auths}).to_string(),
        )?;
        let mut crane = Command::new(layout()?.bin("crane"));
        crane
            .args(args)
            .env("DOCKER_CONFIG", &folder)
            .env("SSL_CERT_FILE", &self.bundle);
        lab::layout::without_proxy(&mut crane);
        let done = crane.output()?;
        ensure!(
            done.status.success(),
            "crane {args:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        Ok(done.stdout)
    }
}

/// Gives the service the rights that the chart gives it, and no more.
async fn grant(client: &Client) -> Result<()> {
    let rule = |group: &str, resource: &str, verb: &str| json!({"apiGroups": [group], "resources": [resource], "verbs": [verb]});
    let everywhere = [
        rule("se.quencer.io", "builds", "get"),
        rule("se.quencer.io", "builds/status", "patch"),
    ];
    let role: ClusterRole =
        serde_json::from_value(json!({"metadata": {"name": NAME}, "rules": everywhere}))?;
    Api::all(client.clone())
        .create(&PostParams::default(), &role)
        .await?;
    let tenant: Role = serde_json::from_value(
        json!({"metadata": {"name": NAME}, "rules": [rule("", "secrets", "get")]}),
    )?;
    Api::namespaced(client.clone(), NAMESPACE)
        .create(&PostParams::default(), &tenant)
        .await?;
    let to = |kind: &str| {
        json!({
            "metadata": {"name": NAME}, "subjects": [{"kind": "User", "name": NAME, "apiGroup": "rbac.authorization.k8s.io"}],
            "roleRef": {"kind": kind, "name": NAME, "apiGroup": "rbac.authorization.k8s.io"},
        })
    };
    let binding: ClusterRoleBinding = serde_json::from_value(to("ClusterRole"))?;
    Api::all(client.clone())
        .create(&PostParams::default(), &binding)
        .await?;
    let binding: RoleBinding = serde_json::from_value(to("Role"))?;
    Api::namespaced(client.clone(), NAMESPACE)
        .create(&PostParams::default(), &binding)
        .await?;
    Ok(())
}

/// A message about a Build.
pub(crate) fn delivery(build: &Build, trigger: Trigger) -> Result<Delivery> {
    let uid: Uuid = build.uid().unwrap_or_default().parse()?;
    let command = BusCommand::new(Verb::Push, None, uid, uid)?;
    let payload = command.payload(NAMESPACE, &build.name_any(), trigger);

    Ok(Delivery {
        command,
        payload,
        again: false,
    })
}

/// Handles one.
pub(crate) async fn handle(service: &Service, build: &Build, trigger: Trigger) -> Result<Outcome> {
    Ok(service.handle(delivery(build, trigger)?).await)
}

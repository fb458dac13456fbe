//! What the other services would record, when all goes well.

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt as _};
use sequencer_api::inputs::Surroundings;
use sequencer_api::owner::{controller, is_controlled_by};
use sequencer_api::secret::SecretRef;
use sequencer_api::status::build::PublishedTo;
use sequencer_api::status::component::{
    DeploySection, DeployedService, SourceImport, SourceSection,
};
use sequencer_api::status::workspace::{RouteRule, RouteSection, TunnelIntent, TunnelSection};
use sequencer_api::status::{Section, State};
use sequencer_api::{Build, Component, DNSRecord, Workspace};
use sequencer_proto::topics::Verb;
use sequencer_runtime::bus::Delivery;
use sequencer_runtime::cluster::current;
use sequencer_runtime::section::StatusPatch;

/// The commit of every branch.
pub(crate) const COMMIT: &str = "4f2a91c0d3e84f2a91c0d3e84f2a91c0d3e84f2a";

pub(crate) fn section(state: State, generation: Option<i64>) -> Section {
    Section {
        state: Some(state),
        observed_generation: generation,
        ..Section::default()
    }
}

/// Does well what it is notified for.
pub(crate) async fn well(delivery: Delivery, client: Client) -> Result<()> {
    let (name, namespace) = (
        delivery.payload.name.clone(),
        delivery.payload.namespace.clone(),
    );
    let uid = delivery.command.uid().to_string();

    match delivery.command.verb() {
        Verb::Resolve | Verb::Deploy => {
            let api: Api<Component> = Api::namespaced(client.clone(), &namespace);
            let Some(found) = current(&api, &name, &uid).await? else {
                return Ok(());
            };

            if delivery.command.verb() == Verb::Resolve {
                resolve(&api, &found).await
            } else {
                deploy(&client, &api, &found).await
            }
        }
        Verb::Build | Verb::Push => {
            let api: Api<Build> = Api::namespaced(client, &namespace);
            let Some(found) = current(&api, &name, &uid).await? else {
                return Ok(());
            };
            build(&api, &found, delivery.command.verb()).await
        }
        Verb::Dns => {
            let api: Api<DNSRecord> = Api::namespaced(client, &namespace);
            let Some(found) = current(&api, &name, &uid).await? else {
                return Ok(());
            };

            let mut record = found.status.clone().unwrap_or_default().record;
            let rev = record.section.rev;
            let state = if found.metadata.deletion_timestamp.is_some() {
                State::Gone
            } else {
                State::Completed
            };

            record.section = section(state, found.metadata.generation);
            record.provider = Some("lab".into());
            record.fqdn = Some(found.spec.fqdn());
            record.record_type = Some(found.spec.record_type.as_str().into());
            StatusPatch::new(&uid)
                .section("record", rev, &record)?
                .apply(&api, &name)
                .await?;
            Ok(())
        }
        Verb::Tunnel | Verb::Probe | Verb::Ingress => {
            let api: Api<Workspace> = Api::namespaced(client, &namespace);
            let Some(found) = current(&api, &name, &uid).await? else {
                return Ok(());
            };
            workspace(&api, &found, delivery.command.verb()).await
        }
    }
}

async fn resolve(api: &Api<Component>, found: &Component) -> Result<()> {
    let status = found.status.clone().unwrap_or_default();
    let build = found.spec.template.build.clone().context("no build")?;
    let imports = build.import_content.iter().filter_map(|import| {
        let git = import.content_from.git.clone()?;
        let commit = git.commit.unwrap_or_else(|| COMMIT.into());

        Some(SourceImport {
            path: import.path.clone(),
            url: git.url,
            reference: git.reference,
            commit,
            subject: None,
        })
    });
    let source = SourceSection {
        section: section(State::Completed, found.metadata.generation),
        imports: imports.collect(),
        changed_at: Some(Time(Timestamp::now())),
        ..SourceSection::default()
    };

    if status.source.imports == source.imports {
        return Ok(());
    }

    let patch = StatusPatch::new(&found.uid().unwrap_or_default()).section(
        "source",
        status.source.section.rev,
        &source,
    )?;
    patch.apply(api, &found.name_any()).await?;
    Ok(())
}

async fn deploy(client: &Client, api: &Api<Component>, found: &Component) -> Result<()> {
    let status = found.status.clone().unwrap_or_default();
    let built = match &found.spec.template.build {
        None => None,
        Some(_) => {
            let builds: Api<Build> =
                Api::namespaced(client.clone(), &found.namespace().unwrap_or_default());
            let latest = status.latest_build.clone().context("no latest Build")?;
            let built = builds.get(&latest).await?;
            let commit = built.spec.commit().map(String::from);
            let publish = built.status.map(|status| status.publish);
            let image = publish.and_then(|publish| publish.image);
            image.context("not published")?;
            Some((latest, commit))
        }
    };
    let (build, commit) = built.unzip();
    let services = found
        .spec
        .template
        .networks
        .iter()
        .map(|network| DeployedService {
            network: network.name.clone(),
            name: "service".into(),
            host: "service.namespace.svc".into(),
            port: network.port,
        });
    let deploy = DeploySection {
        section: section(State::Healthy, found.metadata.generation),
        services: services.collect(),
        commit: commit.flatten(),
        build,
        replicas: Some(1),
        ready_replicas: Some(1),
        revision: Some("r".into()),
        inputs: inputs(client, found).await?,
        ..DeploySection::default()
    };
    let same = DeploySection {
        section: Section {
            rev: 0,
            ..status.deploy.section.clone()
        },
        ..status.deploy.clone()
    } == deploy;
    if !same {
        let patch = StatusPatch::new(&found.uid().unwrap_or_default()).section(
            "deploy",
            status.deploy.section.rev,
            &deploy,
        )?;
        patch.apply(api, &found.name_any()).await?;
    }
    Ok(())
}

/// What a Component's template takes from the others of the namespace.
async fn inputs(client: &Client, component: &Component) -> Result<Option<String>> {
    let namespace = component.namespace().context("no namespace")?;
    let all = ListParams::default();
    let workspaces = Api::<Workspace>::namespaced(client.clone(), &namespace);
    let workspace = match controller::<Workspace>(component) {
        Some(owner) => workspaces.get_opt(&owner.name).await?,
        None => None,
    };
    let components = Api::<Component>::namespaced(client.clone(), &namespace);
    let components = components.list(&all).await?.items;
    let builds = Api::<Build>::namespaced(client.clone(), &namespace);
    let builds = builds.list(&all).await?.items;

    let workspace = workspace.as_ref();
    let beside = |sibling: &&Component| {
        sibling.uid() != component.uid()
            && workspace.is_none_or(|owner| is_controlled_by(*sibling, owner))
    };
    let surroundings = Surroundings {
        component,
        workspace,
        siblings: components.iter().filter(beside).collect(),
        builds: builds.iter().collect(),
    };
    Ok(surroundings.inputs())
}

async fn build(api: &Api<Build>, found: &Build, verb: Verb) -> Result<()> {
    let status = found.status.clone().unwrap_or_default();
    let patch = StatusPatch::new(&found.uid().unwrap_or_default());
    let done = section(State::Completed, found.metadata.generation);
    let patch = if verb == Verb::Build {
        let mut image = status.image;
        let rev = image.section.rev;
        (image.section, image.digest) = (done, Some(format!("sha256:{}", "0".repeat(64))));
        (image.started_at, image.completed_at) =
            (Some(Time(Timestamp::now())), Some(Time(Timestamp::now())));
        patch.section("image", rev, &image)?
    } else {
        let mut publish = status.publish;
        let rev = publish.section.rev;

        (publish.section, publish.image) = (
            done,
            Some(format!("docker.io/myuser/app@sha256:{}", "0".repeat(64))),
        );
        publish.registries = vec![PublishedTo {
            url: "docker.io/myuser/app".into(),
            repository: None,
            state: State::Completed,
            tags: Vec::new(),
            digest: None,
            bytes: None,
            completed_at: Some(Time(Timestamp::now())),
            failure: None,
        }];
        patch.section("publish", rev, &publish)?
    };

    patch.apply(api, &found.name_any()).await?;
    Ok(())
}

async fn workspace(api: &Api<Workspace>, found: &Workspace, verb: Verb) -> Result<()> {
    let status = found.status.clone().unwrap_or_default();
    let patch = StatusPatch::new(&found.uid().unwrap_or_default());
    let generation = found.metadata.generation;
    let patch = if verb == Verb::Probe {
        let host = status.host.clone().unwrap_or_default();
        let rule = RouteRule {
            name: "route".into(),
            url: format!("https://{host}/"),
            host,
            path: "/".into(),
            http_status: Some(200),
            failure: None,
        };

        let route = RouteSection {
            section: Section {
                rev: status.route.section.rev,
                ..section(State::Healthy, generation)
            },
            rules: vec![rule],
            commit: status.commit.clone(),
        };
        if route == status.route {
            return Ok(());
        }

        patch.section("route", status.route.section.rev, &route)?
    } else {
        let intent = TunnelIntent {
            provider: "cloudflare".into(),
            account_id: "0".repeat(32),
            name: "seq-test".into(),
            credential_ref: SecretRef {
                name: "copy".into(),
                namespace: None,
            },
            at: Time(Timestamp::UNIX_EPOCH),
        };

        let deleting = found.metadata.deletion_timestamp.is_some();
        let is_wanted = !deleting && found.tunnel().is_some();
        let state = if is_wanted {
            State::Completed
        } else {
            State::Gone
        };
        let tunnel = TunnelSection {
            section: section(state, generation),
            id: Some("6ff42ae2-0000".into()),
            hostname: Some("6ff42ae2-0000.cfargotunnel.com".into()),
            intents: is_wanted.then_some(intent).into_iter().collect(),
            ..TunnelSection::default()
        };

        patch.section("tunnel", status.tunnel.section.rev, &tunnel)?
    };

    patch.apply(api, &found.name_any()).await?;
    Ok(())
}

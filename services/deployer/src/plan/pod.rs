//! The pods: the template with values in place of variables, and what every pod has.

use k8s_openapi::api::core::v1::{
    Container, EnvVar, LifecycleHandler, LocalObjectReference, PodSpec, PodTemplateSpec, Probe,
    SeccompProfile, SleepAction, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use sequencer_api::component::{Network, Protocol};
use sequencer_api::image::Image;
use sequencer_api::status::component::WaitingFor;
use serde::Serialize;
use serde_json::json;

use super::revision::{Revision, stamp};
use super::used::Used;
use super::values::{Renderer, SHOWN};
use super::{View, claims, is_job, labels, pull};
use crate::args::Settings;
use crate::error::Error;
use sequencer_api::host::Refusal;

/// How often a port is tried until it answers, in seconds.
const TRY_EVERY: i32 = 2;

/// How long a pod goes on answering that was asked to stop, in seconds.
const LINGER: i64 = 3;

/// How long a pod may take to stop where its template does not say, in seconds (core/v1).
const GRACE: i64 = 30;

/// The pods of a Component.
pub(super) struct Pods {
    /// Their template, with its revision in its annotations.
    pub(super) template: PodTemplateSpec,
    pub(super) revision: Revision,
    /// What the template took.
    pub(super) used: Used,
}

/// The pods of a Component, or what has no value yet.
pub(super) fn render(
    view: &View,
    settings: &Settings,
) -> Result<Result<Pods, Vec<WaitingFor>>, Error> {
    let mut renderer = Renderer::new(view, settings);
    let mut pod = view.template().template.clone();
    for (index, container) in pod.init_containers.iter_mut().flatten().enumerate() {
        container_values(
            &mut renderer,
            &format!("template.initContainers[{index}]"),
            container,
        )?;
    }

    for (index, container) in pod.containers.iter_mut().enumerate() {
        container_values(
            &mut renderer,
            &format!("template.containers[{index}]"),
            container,
        )?;
    }

    if !renderer.missing.is_empty() {
        return Ok(Err(renderer.missing));
    }

    let used = renderer.used;
    claims::mount(view, &mut pod);
    let asked = Asked::of(view, &used, &pod);
    let metadata = &view.template().pod_metadata;
    let mut labels = labels::free(&metadata.labels);
    let annotations = labels::free(&metadata.annotations);
    let written =
        json!({"spec": pod, "asked": asked, "labels": labels, "annotations": annotations});

    always(view, settings, asked, &mut pod);
    // Ours win, whatever was stored before the schema kept users from them: by them policies and
    // Services find pods.
    labels.extend(labels::of_workload(view, settings, &used));

    let metadata = ObjectMeta {
        labels: Some(labels),
        annotations: Some(annotations).filter(|annotations| !annotations.is_empty()),
        ..ObjectMeta::default()
    };

    let template = PodTemplateSpec {
        metadata: Some(metadata),
        spec: Some(pod),
    };
    let (template, revision) = stamp(template, &written)?;

    Ok(Ok(Pods {
        template,
        revision,
        used,
    }))
}

/// What the rest of a Component asks of its pods: who wrote a template wrote this too.
#[derive(Serialize)]
struct Asked {
    /// Whether its images are pulled with a login of their Builds.
    login: bool,
    /// By which port each container without a probe of its own is found ready.
    ports: Vec<Option<IntOrString>>,
    /// Whether a pod goes on answering after it was asked to stop.
    lingers: bool,
}

impl Asked {
    fn of(view: &View, used: &Used, pod: &PodSpec) -> Self {
        let own = pod.image_pull_secrets.as_ref();
        let serves = !is_job(view.template());

        Self {
            login: own.is_none_or(Vec::is_empty) && !pull::wanted(view, used).is_empty(),
            ports: if serves {
                ports(view, &pod.containers)
            } else {
                Vec::new()
            },
            lingers: serves && lingers(view, pod),
        }
    }
}

fn container_values(
    renderer: &mut Renderer<'_>,
    at: &str,
    container: &mut Container,
) -> Result<(), Refusal> {
    let image = container.image.get_or_insert_default();
    let (rendered, ours) = renderer.image(&format!("{at}.image"), image)?;
    if renderer.missing.is_empty() {
        named(&format!("{at}.image"), &rendered)?;
    }
    *image = rendered;
    if ours {
        // Else whoever guesses the digest runs what another tenant's pull left on the node.
        container.image_pull_policy = Some("Always".into());
    }

    for (field, texts) in [
        ("command", &mut container.command),
        ("args", &mut container.args),
    ] {
        for (index, text) in texts.iter_mut().flatten().enumerate() {
            *text = renderer.text(&format!("{at}.{field}[{index}]"), text)?;
        }
    }

    container
        .env
        .iter_mut()
        .flatten()
        .try_for_each(|variable| env_value(renderer, at, variable))
}

/// An image has to name one, once nothing of it is missing.
fn named(at: &str, image: &str) -> Result<(), Refusal> {
    let named = image.parse().map(|_image: Image| ());
    named.map_err(|malformed| {
        let shown: String = image.chars().take(SHOWN).collect();
        Refusal::new(malformed.code(), format!("{at}: {shown:?} is {malformed}"))
    })
}

fn env_value(renderer: &mut Renderer<'_>, at: &str, variable: &mut EnvVar) -> Result<(), Refusal> {
    let Some(value) = &variable.value else {
        return Ok(());
    };

    let at = format!("{at}.env[{}].value", variable.name);
    if let Some(source) = renderer.generated(&at, value)? {
        variable.value = None;
        variable.value_from = Some(source);
    } else {
        variable.value = Some(renderer.text(&at, value)?);
    }

    Ok(())
}

/// What every pod has, whatever its template says or leaves out.
fn always(view: &View, settings: &Settings, asked: Asked, pod: &mut PodSpec) {
    pod.automount_service_account_token = Some(false);
    pod.enable_service_links = Some(false);
    let context = pod.security_context.get_or_insert_default();
    let runtime_default = || SeccompProfile {
        type_: "RuntimeDefault".into(),
        ..SeccompProfile::default()
    };

    context.seccomp_profile.get_or_insert_with(runtime_default);
    if asked.login {
        pod.image_pull_secrets = Some(vec![LocalObjectReference {
            name: super::pull_secret(view),
        }]);
    }

    for container in pod
        .init_containers
        .iter_mut()
        .flatten()
        .chain(&mut pod.containers)
    {
        resources(settings, container);
        // The API server chooses this once, and keeps it when another image is rolled out.
        let policy = pull_policy(container.image.as_deref().unwrap_or_default());
        container.image_pull_policy.get_or_insert(policy.into());
    }

    for (container, port) in pod.containers.iter_mut().zip(asked.ports) {
        if let Some(port) = port {
            container.readiness_probe = Some(answers(port));
        }
    }

    if asked.lingers {
        linger(pod);
    }
}

/// Whether others reach a pod, who hear later than the pod does that it was asked to stop: it goes
/// on answering for a moment. One that has no time for it is left alone.
fn lingers(view: &View, pod: &PodSpec) -> bool {
    let grace = pod.termination_grace_period_seconds.unwrap_or(GRACE);
    !view.template().networks.is_empty() && grace >= 2 * LINGER
}

/// A template that says what to do when a container is asked to stop is left alone.
fn linger(pod: &mut PodSpec) {
    for container in &mut pod.containers {
        let sleep = LifecycleHandler {
            sleep: Some(SleepAction { seconds: LINGER }),
            ..LifecycleHandler::default()
        };
        container
            .lifecycle
            .get_or_insert_default()
            .pre_stop
            .get_or_insert(sleep);
    }
}

/// When an image is pulled whose container does not say (Kubernetes, "Default image pull policy").
fn pull_policy(image: &str) -> &'static str {
    let is_fixed = image.parse().is_ok_and(|image: Image| match image.tag {
        Some(tag) => tag != "latest",
        None => image.digest.is_some(),
    });
    if is_fixed { "IfNotPresent" } else { "Always" }
}

fn resources(settings: &Settings, container: &mut Container) {
    let given = container.resources.as_ref();
    let given = given.is_some_and(|given| given.requests.is_some() || given.limits.is_some());
    if !given {
        let claims = container
            .resources
            .take()
            .and_then(|resources| resources.claims);

        container.resources = Some(settings.resources.clone());
        if let Some(resources) = &mut container.resources {
            resources.claims = claims;
        }
    }
}

/// The first port of each container without a readiness probe: it is ready once that answers.
fn ports(view: &View, containers: &[Container]) -> Vec<Option<IntOrString>> {
    let networks = view
        .template()
        .networks
        .iter()
        .filter(|network| network.protocol == Protocol::Tcp);
    let networks: Vec<_> = networks.map(Network::target_port).collect();
    let declared: Vec<_> = containers
        .iter()
        .flat_map(|each| each.ports.iter().flatten())
        .map(|port| port.container_port)
        .collect();

    let port = |(index, container): (usize, &Container)| {
        let serves = |port: &&IntOrString| match port {
            // A port that no container declares is the only or the first container's.
            IntOrString::Int(port) => {
                has(container, *port) || (!declared.contains(port) && index == 0)
            }
            IntOrString::String(name) => container
                .ports
                .iter()
                .flatten()
                .any(|port| port.name.as_ref() == Some(name)),
        };

        let asks = container.readiness_probe.is_none();
        networks.iter().find(serves).filter(|_port| asks).cloned()
    };
    containers.iter().enumerate().map(port).collect()
}

/// The probe of a port that answers.
fn answers(port: IntOrString) -> Probe {
    Probe {
        tcp_socket: Some(TCPSocketAction { host: None, port }),
        period_seconds: Some(TRY_EVERY),
        ..Probe::default()
    }
}

fn has(container: &Container, port: i32) -> bool {
    container
        .ports
        .iter()
        .flatten()
        .any(|each| each.container_port == port)
}

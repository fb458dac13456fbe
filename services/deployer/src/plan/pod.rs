//! The pods: the template with values in place of variables, and what every pod has.

use k8s_openapi::api::core::v1::{
    Container, EnvVar, LifecycleHandler, LocalObjectReference, PodSpec, PodTemplateSpec, Probe,
    SeccompProfile, SleepAction, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use sequencer_api::component::{Network, Protocol};
use sequencer_api::status::component::WaitingFor;

use super::used::Used;
use super::values::Renderer;
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
    pub(super) template: PodTemplateSpec,
    /// The hash of the template, which stands in it too.
    pub(super) revision: String,
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
    always(view, settings, &used, &mut pod);
    claims::mount(view, &mut pod);
    let metadata = &view.template().pod_metadata;
    // Ours win, whatever was stored before the schema kept users from them: by them policies and
    // Services find pods.
    let mut labels = labels::free(&metadata.labels);
    labels.extend(labels::of_workload(view, settings, &used));

    let annotations =
        Some(labels::free(&metadata.annotations)).filter(|annotations| !annotations.is_empty());
    let metadata = ObjectMeta {
        labels: Some(labels),
        annotations,
        ..ObjectMeta::default()
    };

    let (template, revision) = labels::stamp(PodTemplateSpec {
        metadata: Some(metadata),
        spec: Some(pod),
    })?;

    Ok(Ok(Pods {
        template,
        revision,
        used,
    }))
}

fn container_values(
    renderer: &mut Renderer<'_>,
    at: &str,
    container: &mut Container,
) -> Result<(), Refusal> {
    if let Some(image) = &mut container.image {
        let (rendered, ours) = renderer.image(&format!("{at}.image"), image)?;
        *image = rendered;
        if ours {
            // Else whoever guesses the digest runs what another tenant's pull left on the node.
            container.image_pull_policy = Some("Always".into());
        }
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
fn always(view: &View, settings: &Settings, used: &Used, pod: &mut PodSpec) {
    pod.automount_service_account_token = Some(false);
    pod.enable_service_links = Some(false);
    let context = pod.security_context.get_or_insert_default();
    let runtime_default = || SeccompProfile {
        type_: "RuntimeDefault".into(),
        ..SeccompProfile::default()
    };

    context.seccomp_profile.get_or_insert_with(runtime_default);
    if pod.image_pull_secrets.as_ref().is_none_or(Vec::is_empty)
        && !pull::wanted(view, used).is_empty()
    {
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
    }

    if !is_job(view.template()) {
        probes(view, &mut pod.containers);
        linger(view, pod);
    }
}

/// A pod that others reach goes on answering for a moment after it was asked to stop: whoever sends
/// requests hears of it later than the pod does. A template that says what to do then, or has no
/// time for it, is left alone.
fn linger(view: &View, pod: &mut PodSpec) {
    let grace = pod.termination_grace_period_seconds.unwrap_or(GRACE);
    if view.template().networks.is_empty() || grace < 2 * LINGER {
        return;
    }

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

/// A container without a readiness probe is ready once its first port answers.
fn probes(view: &View, containers: &mut [Container]) {
    let alone = containers.len() == 1;
    for (index, container) in containers.iter_mut().enumerate() {
        if container.readiness_probe.is_some() {
            continue;
        }

        let mut networks = view
            .template()
            .networks
            .iter()
            .filter(|network| network.protocol == Protocol::Tcp);
        let declared = view
            .template()
            .template
            .containers
            .iter()
            .flat_map(|each| each.ports.iter().flatten());
        let declared: Vec<_> = declared.map(|port| port.container_port).collect();
        let serves = |network: &&Network| match network.target_port() {
            // A port that no container declares is the only or the first container's.
            IntOrString::Int(port) => {
                has(container, port) || (!declared.contains(&port) && (alone || index == 0))
            }
            IntOrString::String(name) => container
                .ports
                .iter()
                .flatten()
                .any(|port| port.name.as_ref() == Some(&name)),
        };

        if let Some(network) = networks.find(serves) {
            let port = network.target_port();
            container.readiness_probe = Some(Probe {
                tcp_socket: Some(TCPSocketAction { host: None, port }),
                period_seconds: Some(TRY_EVERY),
                ..Probe::default()
            });
        }
    }
}

fn has(container: &Container, port: i32) -> bool {
    container
        .ports
        .iter()
        .flatten()
        .any(|each| each.container_port == port)
}

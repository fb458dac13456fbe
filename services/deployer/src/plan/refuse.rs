//! What a template may not ask for, as Pod Security has it.

use k8s_openapi::api::core::v1::{Container, PodSpec, Volume};
use sequencer_api::code::Code;

use super::{View, volumes};
use crate::args::{PodSecurity, Settings};
use sequencer_api::host::Refusal;

/// Capabilities of the level baseline.
const CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Sysctls of the level baseline.
const SYSCTLS: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_syncookies",
];

pub(super) fn check(view: &View, settings: &Settings) -> Result<(), Refusal> {
    let (pod, level) = (&view.template().template, settings.pod_security);
    identity(pod)?;
    placement(pod)?;
    // The level is about the node. Others' data are theirs at every level.
    volumes::check(view, &settings.shared_claims)?;
    if level == PodSecurity::Privileged {
        return Ok(());
    }

    host(pod)?;
    pod.volumes.iter().flatten().try_for_each(volume)?;
    pod_privilege(pod, level)?;
    containers(pod).try_for_each(|container| privilege(container, pod, level))
}

fn containers(pod: &PodSpec) -> impl Iterator<Item = &Container> {
    pod.init_containers.iter().flatten().chain(&pod.containers)
}

pub(super) fn refuse(when: bool, code: Code, what: impl FnOnce() -> String) -> Result<(), Refusal> {
    if when {
        Err(Refusal::new(code, what()))
    } else {
        Ok(())
    }
}

fn identity(pod: &PodSpec) -> Result<(), Refusal> {
    let named = pod.service_account_name.is_some() || pod.service_account.is_some();
    refuse(named, Code::ServiceAccountForbidden, || {
        "template.serviceAccountName: may not be set".into()
    })?;

    let mounted = pod.automount_service_account_token == Some(true);
    refuse(mounted, Code::ServiceAccountForbidden, || {
        "template.automountServiceAccountToken: may not be true".into()
    })?;

    let sources = pod
        .volumes
        .iter()
        .flatten()
        .filter_map(|volume| volume.projected.as_ref());
    let mut sources = sources.flat_map(|projected| projected.sources.iter().flatten());
    let token = sources.any(|source| source.service_account_token.is_some());

    refuse(token, Code::VolumeForbidden, || {
        "template.volumes: a projected serviceAccountToken is not allowed".into()
    })
}

fn placement(pod: &PodSpec) -> Result<(), Refusal> {
    let no = |when, field: &str| {
        refuse(when, Code::PlacementForbidden, || {
            format!("template.{field}: not allowed")
        })
    };

    no(pod.node_name.is_some(), "nodeName")?;
    no(pod.runtime_class_name.is_some(), "runtimeClassName")?;
    no(
        pod.priority_class_name
            .as_deref()
            .is_some_and(|name| name.starts_with("system-")),
        "priorityClassName",
    )?;

    let system = |key: &str| key.starts_with("node-role.kubernetes.io/");
    let tolerations = pod.tolerations.iter().flatten();
    let mut keys = tolerations.map(|toleration| toleration.key.as_deref().unwrap_or_default());
    no(keys.any(|key| key.is_empty() || system(key)), "tolerations")
}

fn host(pod: &PodSpec) -> Result<(), Refusal> {
    for (set, field) in [
        (pod.host_network, "hostNetwork"),
        (pod.host_pid, "hostPID"),
        (pod.host_ipc, "hostIPC"),
    ] {
        refuse(set == Some(true), Code::HostAccessForbidden, || {
            format!("template.{field}: may not be true")
        })?;
    }

    let mut ports = containers(pod).flat_map(|container| container.ports.iter().flatten());
    let port = ports.any(|port| port.host_port.is_some_and(|port| port != 0));

    refuse(port, Code::HostAccessForbidden, || {
        "template.containers.ports.hostPort: not allowed".into()
    })
}

/// A volume of an allowed kind, and of no other beside it.
fn volume(volume: &Volume) -> Result<(), Refusal> {
    let others = Volume {
        empty_dir: None,
        config_map: None,
        secret: None,
        downward_api: None,
        persistent_volume_claim: None,
        ephemeral: None,
        projected: None,
        ..volume.clone()
    };

    let allowed = others
        == Volume {
            name: volume.name.clone(),
            ..Volume::default()
        };

    refuse(!allowed, Code::VolumeForbidden, || {
        format!(
            "template.volumes[{}]: this kind of volume is not allowed",
            volume.name
        )
    })
}

fn pod_privilege(pod: &PodSpec, level: PodSecurity) -> Result<(), Refusal> {
    let Some(context) = &pod.security_context else {
        return Ok(());
    };

    let no = |when, field: &str| {
        refuse(when, Code::PrivilegeForbidden, || {
            format!("template.securityContext.{field}: not allowed under {level:?}")
        })
    };

    no(
        context
            .seccomp_profile
            .as_ref()
            .is_some_and(|profile| profile.type_ == "Unconfined"),
        "seccompProfile",
    )?;
    no(
        context
            .app_armor_profile
            .as_ref()
            .is_some_and(|profile| profile.type_ == "Unconfined"),
        "appArmorProfile",
    )?;
    no(
        context
            .windows_options
            .as_ref()
            .is_some_and(|options| options.host_process == Some(true)),
        "windowsOptions",
    )?;

    let mut sysctls = context.sysctls.iter().flatten();
    no(
        sysctls.any(|sysctl| !SYSCTLS.contains(&sysctl.name.as_str())),
        "sysctls",
    )
}

fn privilege(container: &Container, pod: &PodSpec, level: PodSecurity) -> Result<(), Refusal> {
    let context = container.security_context.clone().unwrap_or_default();
    let no = |when, field: &str| {
        refuse(when, Code::PrivilegeForbidden, || {
            format!(
                "template.containers[{}].securityContext.{field}: not allowed under {level:?}",
                container.name
            )
        })
    };
    no(context.privileged == Some(true), "privileged")?;
    let capabilities = context.capabilities.unwrap_or_default();
    let allowed = if level == PodSecurity::Restricted {
        &["NET_BIND_SERVICE"][..]
    } else {
        CAPABILITIES
    };
    no(
        capabilities
            .add
            .iter()
            .flatten()
            .any(|name| !allowed.contains(&name.as_str())),
        "capabilities",
    )?;
    no(
        context
            .proc_mount
            .as_deref()
            .is_some_and(|mount| mount != "Default"),
        "procMount",
    )?;
    no(
        context
            .seccomp_profile
            .is_some_and(|profile| profile.type_ == "Unconfined"),
        "seccompProfile",
    )?;
    no(
        context
            .app_armor_profile
            .is_some_and(|profile| profile.type_ == "Unconfined"),
        "appArmorProfile",
    )?;
    no(
        context
            .windows_options
            .is_some_and(|options| options.host_process == Some(true)),
        "windowsOptions",
    )?;
    if level != PodSecurity::Restricted {
        return Ok(());
    }
    let pod_context = pod.security_context.clone().unwrap_or_default();
    no(
        context.allow_privilege_escalation != Some(false),
        "allowPrivilegeEscalation",
    )?;
    no(
        context.run_as_non_root.or(pod_context.run_as_non_root) != Some(true),
        "runAsNonRoot",
    )?;
    no(
        context.run_as_user.or(pod_context.run_as_user) == Some(0),
        "runAsUser",
    )?;
    no(
        !capabilities.drop.iter().flatten().any(|name| name == "ALL"),
        "capabilities.drop",
    )
}

//! What a template may not ask for, as Pod Security has it.

mod annotations;

use k8s_openapi::api::core::v1::{
    AppArmorProfile, Container, HTTPGetAction, PodSpec, SELinuxOptions, SeccompProfile,
    TCPSocketAction, Volume, WindowsSecurityContextOptions,
};
use sequencer_api::code::Code;

use super::refusal::refuse;
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

/// Types of SELinux of the level baseline.
const SELINUX_TYPES: &[&str] = &[
    "",
    "container_t",
    "container_init_t",
    "container_kvm_t",
    "container_engine_t",
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
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
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
    containers(pod).try_for_each(asked_hosts)?;
    pod.volumes.iter().flatten().try_for_each(volume)?;
    annotations::check(&view.template().pod_metadata.annotations, level)?;
    pod_privilege(pod, level)?;
    containers(pod).try_for_each(|container| privilege(container, level))?;

    if level == PodSecurity::Restricted {
        containers(pod).try_for_each(|container| restricted(container, pod))
    } else {
        Ok(())
    }
}

fn containers(pod: &PodSpec) -> impl Iterator<Item = &Container> {
    pod.init_containers.iter().flatten().chain(&pod.containers)
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

/// The kubelet sends probes and hooks from the node, past every NetworkPolicy: they may go to the
/// pod itself alone.
fn asked_hosts(container: &Container) -> Result<(), Refusal> {
    let probes = [
        ("livenessProbe", &container.liveness_probe),
        ("readinessProbe", &container.readiness_probe),
        ("startupProbe", &container.startup_probe),
    ];
    let probes = probes.into_iter().filter_map(|(field, probe)| {
        let probe = probe.as_ref()?;
        names_host(probe.http_get.as_ref(), probe.tcp_socket.as_ref()).then_some(field)
    });

    let lifecycle = container.lifecycle.clone().unwrap_or_default();
    let hooks = [
        ("lifecycle.postStart", lifecycle.post_start),
        ("lifecycle.preStop", lifecycle.pre_stop),
    ];
    let hooks = hooks.into_iter().filter_map(|(field, hook)| {
        let hook = hook?;
        names_host(hook.http_get.as_ref(), hook.tcp_socket.as_ref()).then_some(field)
    });

    let Some(field) = probes.chain(hooks).next() else {
        return Ok(());
    };

    let name = &container.name;
    let message = format!(
        "template.containers[{name}].{field}: may not name a host; without one the pod itself is asked"
    );
    Err(Refusal::new(Code::HostAccessForbidden, message))
}

fn names_host(http: Option<&HTTPGetAction>, tcp: Option<&TCPSocketAction>) -> bool {
    let hosts = [
        http.and_then(|http| http.host.as_ref()),
        tcp.and_then(|tcp| tcp.host.as_ref()),
    ];
    hosts.into_iter().flatten().any(|host| !host.is_empty())
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

/// Whether SELinux confines a container as it should. The level is free.
fn is_confined(options: &SELinuxOptions) -> bool {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();

    SELINUX_TYPES.contains(&text(&options.type_).as_str())
        && text(&options.user).is_empty()
        && text(&options.role).is_empty()
}

/// What the security contexts of pods and of containers have in common.
struct Profiles<'a> {
    seccomp: Option<&'a SeccompProfile>,
    app_armor: Option<&'a AppArmorProfile>,
    windows: Option<&'a WindowsSecurityContextOptions>,
    se_linux: Option<&'a SELinuxOptions>,
}

impl Profiles<'_> {
    /// Whether each of them is forbidden, with the field that it stands in.
    fn forbidden(&self) -> [(bool, &'static str); 4] {
        let unconfined = |type_: &str| type_ == "Unconfined";
        [
            (
                self.seccomp.is_some_and(|found| unconfined(&found.type_)),
                "seccompProfile",
            ),
            (
                self.app_armor.is_some_and(|found| unconfined(&found.type_)),
                "appArmorProfile",
            ),
            (
                self.windows
                    .is_some_and(|found| found.host_process == Some(true)),
                "windowsOptions",
            ),
            (
                self.se_linux.is_some_and(|found| !is_confined(found)),
                "seLinuxOptions",
            ),
        ]
    }
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

    let profiles = Profiles {
        seccomp: context.seccomp_profile.as_ref(),
        app_armor: context.app_armor_profile.as_ref(),
        windows: context.windows_options.as_ref(),
        se_linux: context.se_linux_options.as_ref(),
    };
    for (forbidden, field) in profiles.forbidden() {
        no(forbidden, field)?;
    }

    let mut sysctls = context.sysctls.iter().flatten();
    no(
        sysctls.any(|sysctl| !SYSCTLS.contains(&sysctl.name.as_str())),
        "sysctls",
    )
}

fn privilege(container: &Container, level: PodSecurity) -> Result<(), Refusal> {
    let Some(context) = &container.security_context else {
        return Ok(());
    };

    let no = |when, field: &str| forbid(when, container, field, level);
    no(context.privileged == Some(true), "privileged")?;

    let capabilities = context.capabilities.as_ref();
    let mut added = capabilities.iter().flat_map(|all| all.add.iter().flatten());
    let allowed = if level == PodSecurity::Restricted {
        &["NET_BIND_SERVICE"][..]
    } else {
        CAPABILITIES
    };
    no(
        added.any(|name| !allowed.contains(&name.as_str())),
        "capabilities",
    )?;

    no(
        context
            .proc_mount
            .as_deref()
            .is_some_and(|mount| mount != "Default"),
        "procMount",
    )?;
    let profiles = Profiles {
        seccomp: context.seccomp_profile.as_ref(),
        app_armor: context.app_armor_profile.as_ref(),
        windows: context.windows_options.as_ref(),
        se_linux: context.se_linux_options.as_ref(),
    };
    profiles
        .forbidden()
        .into_iter()
        .try_for_each(|(forbidden, field)| no(forbidden, field))
}

/// What the level restricted asks for beside the level baseline.
fn restricted(container: &Container, pod: &PodSpec) -> Result<(), Refusal> {
    let context = container.security_context.clone().unwrap_or_default();
    let pod_context = pod.security_context.clone().unwrap_or_default();
    let no = |when, field: &str| forbid(when, container, field, PodSecurity::Restricted);

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

    let dropped = context.capabilities.and_then(|all| all.drop);
    no(
        !dropped.iter().flatten().any(|name| name == "ALL"),
        "capabilities.drop",
    )
}

fn forbid(
    when: bool,
    container: &Container,
    field: &str,
    level: PodSecurity,
) -> Result<(), Refusal> {
    refuse(when, Code::PrivilegeForbidden, || {
        format!(
            "template.containers[{}].securityContext.{field}: not allowed under {level:?}",
            container.name
        )
    })
}

#[cfg(test)]
mod tests;

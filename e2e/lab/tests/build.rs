//! A rootless BuildKit in a pod on the node for builders.

use anyhow::{Result, ensure};
use lab::parts::git;
use lab::testing::{Harness, PATIENCE};
use lab::until::until;
use serde_json::{Value, json};

const SOCKET: &str = "unix:///run/user/1000/buildkit/buildkitd.sock";

/// One pod: the checkout is made by an init container that has git's token, the build runs in
/// BuildKit beside it.
fn builder() -> Value {
    let branch = git::BRANCH;
    let clone = format!(
        "git -c credential.helper='!f() {{ echo username=x-access-token; echo \"password=$(cat /git/token)\"; }}; f' \
         clone --branch {branch} https://github.com/myuser/myapp.git /source/app"
    );
    let mounts = |more: Value| {
        let mut mounts = vec![
            json!({"name": "ca", "mountPath": "/ca"}),
            json!({"name": "source", "mountPath": "/source"}),
        ];
        mounts.extend(more.as_array().cloned().unwrap_or_default());
        mounts
    };
    let unconfined = json!({"type": "Unconfined"});
    let buildkit_mounts = json!([
        {"name": "config", "mountPath": "/config"}, {"name": "local", "mountPath": "/home/user/.local"},
        {"name": "run", "mountPath": "/run/user/1000"}, {"name": "tmp", "mountPath": "/tmp"},
    ]);
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "builder"},
        "spec": {
            "nodeSelector": {"pool": "builds"}, "tolerations": [{"key": "pool", "value": "builds"}],
            "terminationGracePeriodSeconds": 2, "securityContext": {"fsGroup": 1000},
            "initContainers": [{
                "name": "clone", "image": "app-base:bookworm", "command": ["sh", "-c", clone],
                "env": [{"name": "GIT_SSL_CAINFO", "value": "/ca/ca.crt"}, {"name": "HOME", "value": "/tmp"}],
                "volumeMounts": mounts(json!([{"name": "git", "mountPath": "/git"}])), "securityContext": {"runAsUser": 1000},
            }],
            "containers": [{
                "name": "buildkit", "image": "moby/buildkit:rootless",
                "args": ["--addr", SOCKET, "--oci-worker-no-process-sandbox"],
                "env": [
                    {"name": "SSL_CERT_FILE", "value": "/ca/ca.crt"}, {"name": "DOCKER_CONFIG", "value": "/config"},
                    {"name": "TMPDIR", "value": "/tmp"},
                ],
                "startupProbe": {"exec": {"command": ["buildctl", "debug", "workers"]}, "periodSeconds": 1, "failureThreshold": 60},
                "volumeMounts": mounts(buildkit_mounts),
                "securityContext": {
                    "runAsUser": 1000, "runAsGroup": 1000, "runAsNonRoot": true, "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"], "add": ["SETUID", "SETGID"]}, "allowPrivilegeEscalation": true,
                    "seccompProfile": unconfined, "appArmorProfile": unconfined,
                },
            }],
            "volumes": [
                {"name": "ca", "configMap": {"name": "test-ca"}}, {"name": "source", "emptyDir": {}}, {"name": "git", "secret": {"secretName": "git"}},
                {"name": "config", "secret": {"secretName": "company", "items": [{"key": ".dockerconfigjson", "path": "config.json"}]}},
                {"name": "local", "emptyDir": {}}, {"name": "run", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}},
            ],
        },
    })
}

/// Builds and pushes, and returns BuildKit's plain progress.
fn build(harness: &Harness, image: &str, cache: &str, no_local_cache: bool) -> Result<String> {
    if no_local_cache {
        harness.kubectl(&[
            "exec", "builder", "-c", "buildkit", "--", "buildctl", "prune", "--all",
        ])?;
    }
    let script = format!(
        "buildctl build --progress=plain --frontend=dockerfile.v0 --local context=/source/app --local dockerfile=/source/app \
         --export-cache type=registry,ref={cache},mode=max,image-manifest=true,oci-mediatypes=true \
         --import-cache type=registry,ref={cache} --output type=image,name={image},push=true,oci-mediatypes=true 2>&1"
    );
    harness.kubectl(&[
        "exec", "builder", "-c", "buildkit", "--", "sh", "-c", &script,
    ])
}

/// The Dockerfile's steps that ran and those that came from a cache.
fn steps(progress: &str) -> (usize, usize) {
    let step = |line: &&str| {
        line.contains("] RUN ") || line.contains("] COPY ") || line.contains("] WORKDIR ")
    };

    let numbers: Vec<_> = progress
        .lines()
        .filter(step)
        .filter_map(|line| line.split(' ').next())
        .collect();
    let ended = |word: &str| {
        progress
            .lines()
            .filter(|line| {
                numbers
                    .iter()
                    .any(|number| line.starts_with(&format!("{number} {word}")))
            })
            .count()
    };

    (ended("DONE"), ended("CACHED"))
}

#[test]
fn rootless_buildkit_builds_the_application_and_caches_it_in_the_registry() -> Result<()> {
    let harness = Harness::new("build")?;
    harness.secret(
        "git",
        "Opaque",
        &json!({"token": harness.secrets.git_token}),
    )?;
    harness.log_in_to_registry()?;
    harness.apply(&builder())?;
    harness.kubectl(&[
        "wait",
        "pod/builder",
        "--for=condition=Ready",
        &format!("--timeout={}s", PATIENCE.as_secs()),
    ])?;
    assert_eq!(harness.field("pod/builder", ".spec.nodeName")?, "builds");

    let repository = format!("registry.test/{}/app", harness.namespace);
    let (image, cache) = (
        format!("{repository}:latest"),
        format!("{repository}:cache"),
    );
    let (ran, cached) = steps(&build(&harness, &image, &cache, false)?);
    ensure!(
        ran > 0 && cached == 0,
        "the first build ran {ran} steps and found {cached} in a cache"
    );
    let (ran, cached) = steps(&build(&harness, &image, &cache, false)?);
    ensure!(
        ran == 0 && cached > 0,
        "the second build ran {ran} steps and found {cached} in a cache"
    );
    let (ran, cached) = steps(&build(&harness, &image, &cache, true)?);
    ensure!(
        ran == 0 && cached > 0,
        "a build with the registry's cache alone ran {ran} steps and found {cached} in it"
    );

    // The image runs, and shows what it was built from; without databases it says 503.
    let commit = harness.kubectl(&[
        "exec",
        "builder",
        "-c",
        "buildkit",
        "--",
        "cat",
        &format!("/source/app/.git/refs/heads/{}", git::BRANCH),
    ])?;
    let variables = json!([{"name": "DB_HOST", "value": "127.0.0.1"}, {"name": "REDIS_HOST", "value": "127.0.0.1"},
        {"name": "MYSQL_USER", "value": "u"}, {"name": "MYSQL_PASSWORD", "value": "p"}, {"name": "MYSQL_DATABASE", "value": "d"}]);
    let app = json!({"image": image, "env": variables, "command": ["/srv/aurora-test", "start"]});
    harness.deploy(
        "app",
        &app,
        &json!({"imagePullSecrets": [{"name": "company"}]}),
        &[3000],
    )?;
    harness.wait_rolled_out("app")?;
    let address = harness.field("service/app", ".spec.clusterIP")?;
    let answer = until("the application answers", PATIENCE, || {
        harness.cluster.general.run(&[
            "curl",
            "-s",
            "-w",
            " %{http_code}",
            &format!("http://{address}:3000/"),
        ])
    })?;
    ensure!(
        answer.ends_with(" 503") && answer.contains(&format!("\"commit\": \"{}\"", commit.trim())),
        "{answer}"
    );
    Ok(())
}

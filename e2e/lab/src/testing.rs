//! What the cluster's tests share: the running cluster, and a Kubernetes namespace of their own.

use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::layout::{GENERAL, Layout, text};
use crate::parts::registry::{COMPANY_USER, login};
use crate::process::output;
use crate::secrets::Secrets;
use crate::until::until;

/// How long a pod may take to be scheduled, pulled and ready.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Set, it makes tests keep their namespaces, so that a person can look at them.
const KEEP: &str = "SEQUENCER_E2E_KEEP";

/// The folders that `e2e/test` named.
///
/// # Errors
/// A variable is missing: the tests were not started by `e2e/test`.
pub fn layout() -> Result<Layout> {
    Ok(Layout {
        repository: path_of("SEQUENCER_E2E_REPOSITORY")?,
        cache: path_of("SEQUENCER_E2E_CACHE")?,
        state: path_of("SEQUENCER_E2E_STATE")?,
    })
}

fn path_of(variable: &str) -> Result<PathBuf> {
    let value = std::env::var_os(variable)
        .with_context(|| format!("{variable} is not set: run the tests with e2e/test"))?;
    Ok(PathBuf::from(value))
}

/// The lab's program, as `e2e/test` named it.
///
/// # Errors
/// As [`layout`].
pub fn program() -> Result<PathBuf> {
    path_of("SEQUENCER_E2E_PROGRAM")
}

/// The lab's program with the tests' folders, in a process group of its own as a shell would start
/// it.
///
/// # Errors
/// As [`layout`].
pub fn command(program: impl AsRef<OsStr>, verb: &str) -> Result<Command> {
    let layout = layout()?;
    let mut command = Command::new(program);
    command
        .arg(verb)
        .env("SEQUENCER_E2E_REPOSITORY", &layout.repository)
        .env("SEQUENCER_E2E_STATE", &layout.state);
    command
        .env("SEQUENCER_E2E_CACHE", &layout.cache)
        .stdin(Stdio::null())
        .process_group(0);
    Ok(command)
}

/// A test's own Kubernetes namespace in the running cluster. It is deleted when the value is
/// dropped.
#[derive(Debug)]
pub struct Harness {
    pub cluster: Cluster,
    pub secrets: Secrets,
    pub namespace: String,
}

impl Harness {
    /// Makes the namespace; `name` says what the test is about. It holds the ConfigMap `test-ca`
    /// with the test CA.
    ///
    /// # Errors
    /// The cluster is not up.
    pub fn new(name: &str) -> Result<Self> {
        let cluster = Cluster::new(layout()?);
        let secrets = Secrets::ensure(&cluster.layout)?;
        let namespace = format!("{name}-{:06x}", rand::random::<u32>() & 0xff_ffff);
        cluster.kubectl(&["create", "namespace", &namespace])?;

        let harness = Self {
            cluster,
            secrets,
            namespace,
        };

        let authority = format!(
            "--from-file=ca.crt={}",
            text(harness.cluster.layout.pki("ca.crt"))
        );
        harness.kubectl(&["create", "configmap", "test-ca", &authority])?;
        Ok(harness)
    }

    /// Runs kubectl in the namespace and returns what it printed.
    ///
    /// # Errors
    /// It fails.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        let mut words = vec!["-n", &self.namespace];
        words.extend(args);
        self.cluster.kubectl(&words)
    }

    /// Applies an object.
    ///
    /// # Errors
    /// The API server refuses it.
    pub fn apply(&self, object: &Value) -> Result<()> {
        self.cluster
            .kubectl_fed(
                &["-n", &self.namespace, "apply", "-f", "-"],
                &object.to_string(),
            )
            .map(drop)
    }

    /// Applies a Deployment of one container and, for each port, a Service of the same name.
    ///
    /// # Errors
    /// The API server refuses it.
    pub fn deploy(&self, name: &str, container: &Value, pod: &Value, ports: &[u16]) -> Result<()> {
        let labels = json!({"app": name});
        let merged = |first: Value, second: &Value| {
            let objects = [first.as_object(), second.as_object()]
                .into_iter()
                .flatten()
                .cloned();
            Value::Object(objects.flatten().collect())
        };
        let container = merged(json!({"name": name}), container);
        let spec = merged(
            json!({"containers": [container], "terminationGracePeriodSeconds": 2}),
            pod,
        );
        self.apply(&json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
            "spec": {
                "replicas": 1, "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        }))?;
        for port in ports {
            self.apply(&json!({
                "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
                "spec": {"selector": labels, "ports": [{"port": port, "targetPort": port}]},
            }))?;
        }
        Ok(())
    }

    /// Deploys a web server with one page on port 8080, with its Service.
    ///
    /// # Errors
    /// It does not become ready.
    pub fn deploy_page(&self, name: &str, page: &str, pod: &Value) -> Result<()> {
        let script = "mkdir /tmp/www && echo \"$PAGE\" > /tmp/www/index.html && exec python3 -m http.server -d /tmp/www 8080";
        let container = json!({
            "image": "app-base:bookworm", "command": ["sh", "-c", script], "env": [{"name": "PAGE", "value": page}],
            "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
        });
        self.deploy(name, &container, pod, &[8080])?;
        self.wait_rolled_out(name)
    }

    /// Deploys the sample's application and its two databases. Its source runs on its base image:
    /// the build of its image is a test of its own.
    ///
    /// # Errors
    /// One of them does not become ready.
    pub fn deploy_click(&self) -> Result<()> {
        let ready_at = |port: u16| json!({"tcpSocket": {"port": port}, "periodSeconds": 1});
        let source = self
            .cluster
            .layout
            .repository
            .join("e2e/apps/click/click.py");
        self.kubectl(&[
            "create",
            "configmap",
            "source",
            &format!("--from-file=__main__.py={}", text(source)),
        ])?;
        let redis = json!({"image": "redis:latest", "readinessProbe": ready_at(6379)});
        self.deploy("redis", &redis, &json!({}), &[6379])?;
        let variables = json!([
            {"name": "MYSQL_RANDOM_ROOT_PASSWORD", "value": "true"}, {"name": "MYSQL_DATABASE", "value": "mydb"},
            {"name": "MYSQL_USER", "value": "theuser"}, {"name": "MYSQL_PASSWORD", "value": "it's a \\ password"},
            {"name": "DB_HOST", "value": "mysql"}, {"name": "REDIS_HOST", "value": "redis"},
        ]);
        let mysql =
            json!({"image": "mysql:latest", "env": variables, "readinessProbe": ready_at(3306)});
        self.deploy("mysql", &mysql, &json!({}), &[3306])?;
        let click = json!({
            "image": "app-base:bookworm", "env": variables, "command": ["python3", "/source", "start"],
            "volumeMounts": [{"name": "source", "mountPath": "/source"}], "readinessProbe": ready_at(3000),
        });
        let source = json!({"volumes": [{"name": "source", "configMap": {"name": "source"}}]});
        self.deploy("click", &click, &source, &[3000])?;
        ["redis", "mysql", "click"]
            .iter()
            .try_for_each(|name| self.wait_rolled_out(name))
    }

    /// Makes a Secret. Its values stand in no command line.
    ///
    /// # Errors
    /// The API server refuses it.
    pub fn secret(&self, name: &str, kind: &str, values: &Value) -> Result<()> {
        self.apply(&json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": kind, "stringData": values,
        }))
    }

    /// Makes the Secret `company` with the login of `registry.test`, and returns it as a
    /// `config.json` for clients.
    ///
    /// # Errors
    /// The API server refuses it.
    pub fn log_in_to_registry(&self) -> Result<String> {
        let login = login(
            "registry.test",
            COMPANY_USER,
            &self.secrets.registry_password,
        );

        self.secret(
            "company",
            "kubernetes.io/dockerconfigjson",
            &json!({".dockerconfigjson": login}),
        )?;
        Ok(login)
    }

    /// Waits until a Deployment's newest revision is ready.
    ///
    /// # Errors
    /// It is not within [`PATIENCE`].
    pub fn wait_rolled_out(&self, name: &str) -> Result<()> {
        let timeout = format!("--timeout={}s", PATIENCE.as_secs());
        self.kubectl(&["rollout", "status", &format!("deployment/{name}"), &timeout])
            .map(drop)
    }

    /// A field of an object by JSONPath.
    ///
    /// # Errors
    /// There is no such object.
    pub fn field(&self, object: &str, path: &str) -> Result<String> {
        self.kubectl(&["get", object, "-o", &format!("jsonpath={{{path}}}")])
    }

    /// Waits until a field of an object has this value.
    ///
    /// # Errors
    /// It has not within [`PATIENCE`].
    pub fn wait_field(&self, object: &str, path: &str, value: &str) -> Result<()> {
        until(&format!("{object} {path} is {value}"), PATIENCE, || {
            let found = self.field(object, path)?;
            ensure!(found == value, "it is {found:?}");
            Ok(())
        })
    }

    /// Runs a shell script in a Deployment's pod and returns what it printed.
    ///
    /// # Errors
    /// It fails.
    pub fn exec(&self, deployment: &str, script: &str) -> Result<String> {
        self.kubectl(&[
            "exec",
            &format!("deployment/{deployment}"),
            "--",
            "sh",
            "-c",
            script,
        ])
    }

    /// What `curl` on the host prints for a URL whose host is served at Traefik's address.
    ///
    /// # Errors
    /// No answer, or a status of 400 or more.
    pub fn curl_ingress(&self, scheme: &str, host: &str, path: &str) -> Result<String> {
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--show-error",
            "--fail-with-body",
            "--max-time",
            "10",
            "--noproxy",
            "*",
        ]);
        curl.arg("--cacert").arg(self.cluster.layout.pki("ca.crt"));
        curl.args([
            "--resolve",
            &format!("{host}:80:{GENERAL}"),
            "--resolve",
            &format!("{host}:443:{GENERAL}"),
        ]);
        output(curl.arg(format!("{scheme}://{host}{path}")))
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        if std::env::var_os(KEEP).is_none() {
            drop(
                self.cluster
                    .kubectl(&["delete", "namespace", &self.namespace, "--wait=false"]),
            );
        }
    }
}

//! What a user does and sees: `kubectl`, `git push`, `curl`.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use e2e::cluster::Cluster;
use e2e::layout::{CLOUDFLARE_API, text};
use e2e::parts::cloudflare::ADMIN_PORT;
use e2e::parts::git;
use e2e::process::output;
use e2e::release::NAMESPACE;
use e2e::secrets::Secrets;
use e2e::testing::{PATIENCE, layout};
use e2e::until::until;
use serde_json::{Value, json};

pub(crate) struct Walk {
    pub(crate) cluster: Cluster,
    pub(crate) secrets: Secrets,
}

/// A name that no earlier run had: branches stay, and images of the same content are taken again.
pub(crate) fn unique(name: &str) -> String {
    format!("{name}-{:06x}", rand::random::<u32>() & 0xff_ffff)
}

impl Walk {
    pub(crate) fn new() -> Result<Self> {
        let cluster = Cluster::new(layout()?);
        let secrets = Secrets::ensure(&cluster.layout)?;
        cluster.provide_sample_secrets(&secrets)?;
        Ok(Self { cluster, secrets })
    }

    pub(crate) fn kubectl(&self, args: &[&str]) -> Result<String> {
        let mut words = vec!["-n", NAMESPACE];
        words.extend(args);
        self.cluster.kubectl(&words)
    }

    pub(crate) fn apply(&self, manifest: &str) -> Result<()> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), manifest)?;
        self.kubectl(&["apply", "-f", &text(file.path())]).map(drop)
    }

    pub(crate) fn field(&self, object: &str, path: &str) -> Result<String> {
        self.kubectl(&["get", object, "-o", &format!("jsonpath={{{path}}}")])
    }

    /// A field of `Ready` of a Workspace, or of the Component or Build of it.
    pub(crate) fn ready(&self, object: &str, field: &str) -> Result<String> {
        self.field(object, &format!(".status.conditions[?(@.type=='Ready')].{field}"))
    }

    pub(crate) fn wait_ready(&self, name: &str) -> Result<()> {
        let ready = ["wait", &format!("workspace/{name}"), "--for=condition=Ready", "--timeout=300s"];
        self.kubectl(&ready).map(drop).map_err(|error| {
            let shown = self.kubectl(&["describe", "workspace", name]);
            error.context(shown.unwrap_or_default())
        })
    }

    /// Waits until `Ready` of an object says this code.
    pub(crate) fn wait_code(&self, object: &str, code: &str) -> Result<String> {
        until(&format!("{object} says {code}"), PATIENCE, || {
            let message = self.ready(object, "message")?;
            ensure!(message.starts_with(code), "it says {message:?}");
            Ok(message)
        })
    }

    pub(crate) fn component(&self, workspace: &str, component: &str) -> Result<String> {
        let labels = format!("se.quencer.io/workspace={workspace},se.quencer.io/component={component}");
        let found = self.kubectl(&["get", "components", "-l", &labels, "-o", "name"])?;
        Ok(found.trim().to_owned())
    }

    /// The application's answer, as a visitor sees it: by the cluster's DNS, and whatever leads to it from there.
    pub(crate) fn clicks(&self, url: &str) -> Result<Value> {
        let authority = text(self.cluster.layout.pki("ca.crt"));
        let answer = self.cluster.general.run(&["curl", "-sS", "-m", "10", "--cacert", &authority, url])?;
        serde_json::from_str(&answer).with_context(|| format!("{url} answered {answer}"))
    }

    /// What lives at Cloudflare.
    pub(crate) fn live(&self) -> Result<String> {
        let url = format!("http://{CLOUDFLARE_API}:{ADMIN_PORT}/live");
        output(Command::new("curl").args(["-sS", "--fail", &url]))
    }

    /// Pushes a commit with this file to a branch of the application's repository, which is made if there is none, and
    /// returns the commit.
    pub(crate) fn push(&self, branch: &str, file: &str, content: &str) -> Result<String> {
        let folder = tempfile::tempdir()?;
        let tree = text(folder.path().join("tree"));
        let repository = text(git::repository(&self.cluster.layout));
        // The repository is the git server's, and git believes only a file that it may be used.
        std::fs::write(folder.path().join(".gitconfig"), "[safe]\n\tdirectory = *\n")?;
        let run = |args: &[&str]| {
            let mut git = Command::new("git");
            git.env("HOME", folder.path()).env("GIT_CONFIG_NOSYSTEM", "1");
            git.args(["-c", "user.name=e2e", "-c", "user.email=e2e@preview.test"]);
            output(git.args(args))
        };
        run(&["clone", "--quiet", &repository, &tree])?;
        if run(&["-C", &tree, "checkout", "--quiet", branch]).is_err() {
            run(&["-C", &tree, "checkout", "--quiet", "-b", branch])?;
        }
        std::fs::write(folder.path().join("tree").join(file), content)?;
        run(&["-C", &tree, "add", "--all"])?;
        run(&["-C", &tree, "commit", "--quiet", "--allow-empty", "--message", branch])?;
        run(&["-C", &tree, "push", "--quiet", "origin", branch])?;
        Ok(run(&["-C", &tree, "rev-parse", "HEAD"])?.trim().into())
    }

    /// The application with its databases, from a branch of its own that is looked at every five seconds.
    pub(crate) fn preview(&self, name: &str, branch: &str, registry_secret: &str) -> Value {
        let variables = json!([
            {"name": "MYSQL_RANDOM_ROOT_PASSWORD", "value": "true"}, {"name": "MYSQL_DATABASE", "value": "d"},
            {"name": "MYSQL_USER", "value": "u"}, {"name": "MYSQL_PASSWORD", "value": "p"},
            {"name": "DB_HOST", "value": "${components::mysql.networks.tcp}"},
            {"name": "REDIS_HOST", "value": "${components::redis.networks.tcp}"},
        ]);
        let database = |name: &str, port: u16, variables: &[Value]| {
            let container = json!({
                "name": name, "image": format!("{name}:latest"), "ports": [{"containerPort": port}], "env": variables,
            });
            json!({"name": name, "networks": [{"name": "tcp", "port": port}], "template": {"containers": [container]}})
        };
        let settings = variables.as_array().map_or(&[][..], |all| &all[..4]);
        let build = json!({
            "name": "app",
            "containerRegistries": [{
                "url": "myuser/ephemeralbuilds", "tags": [name],
                "credentials": {"authScheme": "keyPair", "secretRef": {"name": registry_secret}},
            }],
            "importContent": [{
                "credentials": {"authScheme": "token", "secretRef": {"name": "github-credentials"}},
                "contentFrom": {"git": {"url": "git@github.com:myuser/myapp.git", "ref": branch}},
            }],
        });
        let container = json!({
            "name": "app", "image": "${build::app}", "command": ["/srv/aurora-test", "start"], "env": variables,
            "ports": [{"containerPort": 3000}],
        });
        json!({
            "apiVersion": "se.quencer.io/v1alpha1", "kind": "Workspace", "metadata": {"name": name},
            "spec": {
                "updatePolicy": {"interval": "5s"},
                "components": [
                    {
                        "name": "app", "template": {"containers": [container]}, "build": build,
                        "networks": [{"name": "http", "port": 80, "targetPort": 3000}],
                        "dependsOn": [{"componentName": "mysql"}, {"componentName": "redis"}],
                    },
                    database("mysql", 3306, settings),
                    database("redis", 6379, &[]),
                ],
            },
        })
    }

    pub(crate) fn delete(&self, name: &str) -> Result<()> {
        self.kubectl(&["delete", "workspace", name, "--timeout=120s"]).map(drop)
    }
}

//! What a user does and sees: `kubectl`, `git push`, `curl`.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use lab::cluster::Cluster;
use lab::layout::{CLOUDFLARE_API, text};
use lab::parts::cloudflare::ADMIN_PORT;
use lab::parts::git;
use lab::process::output;
use lab::release::NAMESPACE;
use lab::secrets::Secrets;
use lab::testing::{PATIENCE, layout};
use lab::until::until;
use serde_json::Value;

use crate::manifest::{dockerfile, preview, with_tunnel};

/// A user of one namespace.
pub(crate) struct User {
    pub(crate) cluster: Cluster,
    pub(crate) secrets: Secrets,
    pub(crate) namespace: &'static str,
}

/// A name that no earlier run had: branches stay, and images of the same content are taken again.
pub(crate) fn unique(name: &str) -> String {
    format!("{name}-{:06x}", rand::random::<u32>() & 0xff_ffff)
}

impl User {
    /// In the release's own namespace.
    pub(crate) fn new() -> Result<Self> {
        Self::of(NAMESPACE)
    }

    /// In a namespace that is the release's own or a tenant's. The Secrets that previews name are
    /// there.
    pub(crate) fn of(namespace: &'static str) -> Result<Self> {
        let cluster = Cluster::new(layout()?);
        let secrets = Secrets::ensure(&cluster.layout)?;
        cluster.provide_sample_secrets(&secrets, namespace)?;
        Ok(Self {
            cluster,
            secrets,
            namespace,
        })
    }

    pub(crate) fn kubectl(&self, args: &[&str]) -> Result<String> {
        self.cluster
            .kubectl(&[&["-n", self.namespace], args].concat())
    }

    pub(crate) fn apply(&self, manifest: &str) -> Result<()> {
        self.cluster
            .kubectl_fed(&["apply", "-n", self.namespace, "-f", "-"], manifest)
            .map(drop)
    }

    /// Applies a preview with a tunnel, from the branch of its name.
    pub(crate) fn apply_with_tunnel(&self, name: &str) -> Result<()> {
        let preview = preview(name, name, "dockerhub-credentials");
        self.apply(&with_tunnel(preview, &self.secrets.cloudflare_account).to_string())
    }

    /// Applies a JSON patch (RFC 6902) to a Workspace.
    pub(crate) fn patch(&self, name: &str, patch: &Value) -> Result<()> {
        let patch = patch.to_string();
        self.kubectl(&["patch", "workspace", name, "--type=json", "-p", &patch])
            .map(drop)
    }

    pub(crate) fn field(&self, object: &str, path: &str) -> Result<String> {
        self.kubectl(&["get", object, "-o", &format!("jsonpath={{{path}}}")])
    }

    /// A field of `Ready` of a Workspace, or of the Component or Build of it.
    pub(crate) fn ready(&self, object: &str, field: &str) -> Result<String> {
        self.field(
            object,
            &format!(".status.conditions[?(@.type=='Ready')].{field}"),
        )
    }

    pub(crate) fn wait_ready(&self, name: &str) -> Result<()> {
        let ready = [
            "wait",
            &format!("workspace/{name}"),
            "--for=condition=Ready",
            "--timeout=300s",
        ];
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

    /// A Component of a Workspace, once it is made.
    pub(crate) fn component(&self, workspace: &str, component: &str) -> Result<String> {
        let labels =
            format!("se.quencer.io/workspace={workspace},se.quencer.io/component={component}");
        until(&format!("{workspace} has {component}"), PATIENCE, || {
            let found = self.kubectl(&["get", "components", "-l", &labels, "-o", "name"])?;
            ensure!(!found.is_empty(), "there is none");
            Ok(found.trim().to_owned())
        })
    }

    /// The only Build of a Workspace, if there is one.
    pub(crate) fn build(&self, workspace: &str) -> Result<String> {
        let found = self.kubectl(&[
            "get",
            "builds",
            "-l",
            &format!("se.quencer.io/workspace={workspace}"),
            "-o",
            "name",
        ])?;
        let mut names = found.lines();
        names
            .next()
            .filter(|_| names.next().is_none())
            .map(ToOwned::to_owned)
            .with_context(|| format!("not one Build: {found}"))
    }

    /// Installs the chart with a line of its values changed, until somebody installs it as it was.
    pub(crate) fn install_with(&self, line: &str, changed: &str) -> Result<()> {
        let values = std::fs::read_to_string(self.cluster.installed_values())?;
        ensure!(
            values.contains(line),
            "the values have no {line:?}: {values}"
        );

        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), values.replacen(line, changed, 1))?;
        self.cluster.install_chart(&text(file.path()))
    }

    /// The application's answer, as a visitor sees it: by the cluster's DNS, and whatever leads to
    /// it from there.
    pub(crate) fn clicks(&self, url: &str) -> Result<Value> {
        let authority = text(self.cluster.layout.pki("ca.crt"));
        let answer = self
            .cluster
            .general
            .run(&["curl", "-sS", "-m", "10", "--cacert", &authority, url])?;
        serde_json::from_str(&answer).with_context(|| format!("{url} answered {answer}"))
    }

    /// What lives at Cloudflare.
    pub(crate) fn live(&self) -> Result<String> {
        cloudflare("live")
    }

    /// How often tunnels or records whose names hold `part` were made, and how often deleted.
    pub(crate) fn made_and_deleted(&self, part: &str) -> Result<[u64; 2]> {
        let counters: Value = serde_json::from_str(&cloudflare("counters")?)?;
        let sum = |what: &str| {
            let of = |kind: &str| counters[kind][what].as_object().into_iter().flatten();
            let ours = of("tunnels")
                .chain(of("records"))
                .filter(|(name, _)| name.contains(part));
            ours.filter_map(|(_, count)| count.as_u64()).sum()
        };

        Ok([sum("creates"), sum("deletes")])
    }

    /// Waits until nothing of a Workspace is left: in the cluster, and at Cloudflare, where as much
    /// was deleted as made.
    pub(crate) fn wait_gone(&self, uid: &str, host: &str) -> Result<()> {
        let selector = format!("se.quencer.io/ws-uid={uid}");
        until(&format!("nothing of {host} is left"), PATIENCE, || {
            let kinds = "components,builds,dnsrecords,deployments,services,secrets,networkpolicies,ingresses,pods";
            let left = self.cluster.kubectl(&[
                "get",
                kinds,
                "--all-namespaces",
                "-l",
                &selector,
                "-o",
                "name",
            ])?;
            ensure!(left.trim().is_empty(), "{left}");
            let live = self.live()?;
            ensure!(!live.contains(uid) && !live.contains(host), "{live}");
            for part in [uid, host] {
                let [made, deleted] = self.made_and_deleted(part)?;
                ensure!(
                    made == deleted,
                    "of {part} {made} were made and {deleted} deleted"
                );
            }

            Ok(())
        })
    }

    /// Pushes a commit with this file to a branch of the application's repository, which is made if
    /// there is none, and returns the commit.
    pub(crate) fn push(&self, branch: &str, file: &str, content: &str) -> Result<String> {
        let folder = tempfile::tempdir()?;
        let tree = text(folder.path().join("tree"));
        let repository = text(git::repository(&self.cluster.layout));

        // The repository is the git server's, and git believes only a file that it may be used.
        std::fs::write(
            folder.path().join(".gitconfig"),
            "[safe]\n\tdirectory = *\n",
        )?;

        let run = |args: &[&str]| {
            let mut git = Command::new("git");
            git.env("HOME", folder.path())
                .env("GIT_CONFIG_NOSYSTEM", "1");
            git.args(["-c", "user.name=e2e", "-c", "user.email=e2e@preview.test"]);
            output(git.args(args))
        };

        run(&["clone", "--quiet", &repository, &tree])?;
        if run(&["-C", &tree, "checkout", "--quiet", branch]).is_err() {
            run(&["-C", &tree, "checkout", "--quiet", "-b", branch])?;
        }

        std::fs::write(folder.path().join("tree").join(file), content)?;
        run(&["-C", &tree, "add", "--all"])?;
        run(&[
            "-C",
            &tree,
            "commit",
            "--quiet",
            "--allow-empty",
            "--message",
            branch,
        ])?;
        run(&["-C", &tree, "push", "--quiet", "origin", branch])?;
        Ok(run(&["-C", &tree, "rev-parse", "HEAD"])?.trim().into())
    }

    /// Pushes a commit whose Dockerfile is the application's with one more step at its end.
    pub(crate) fn push_step(&self, branch: &str, step: &str) -> Result<String> {
        self.push(
            branch,
            "Dockerfile",
            &dockerfile(&self.cluster.layout.repository, step)?,
        )
    }

    /// Its uid and its host, by which its traces are found.
    pub(crate) fn marks(&self, name: &str) -> Result<(String, String)> {
        let object = format!("workspace/{name}");
        Ok((
            self.field(&object, ".metadata.uid")?,
            self.field(&object, ".status.host")?,
        ))
    }

    pub(crate) fn delete(&self, name: &str) -> Result<()> {
        self.kubectl(&["delete", "workspace", name, "--timeout=120s"])
            .map(drop)
    }
}

fn cloudflare(what: &str) -> Result<String> {
    let url = format!("http://{CLOUDFLARE_API}:{ADMIN_PORT}/{what}");
    output(Command::new("curl").args(["-sS", "--fail", &url]))
}

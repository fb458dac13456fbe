//! What `kubectl get` and `kubectl describe` tell: nobody needs anything else to know how a preview
//! is.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use lab::release::TENANTS;
use lab::testing::PATIENCE;
use lab::until::until;

use crate::user::{User, unique};

/// The one row of `kubectl get -o wide`, by column.
fn row(user: &User, object: &[&str]) -> Result<BTreeMap<String, String>> {
    let shown = user.kubectl(&[&["get", "-o", "wide"], object].concat())?;
    let mut lines = shown.lines();
    let (header, row) = (
        lines.next().context("no header")?,
        lines.next().context("no row")?,
    );
    ensure!(lines.next().is_none(), "more than one row: {shown}");
    let names: Vec<_> = header.split_whitespace().collect();
    let starts: Vec<_> = names
        .iter()
        .filter_map(|name| header.find(&format!("{name} ")).or(header.find(name)))
        .collect();
    let ends = starts.iter().skip(1).copied().chain([row.len()]);
    let cells = starts
        .iter()
        .zip(ends)
        .map(|(start, end)| row.get(*start..end).unwrap_or_default().trim().to_owned());
    Ok(names
        .into_iter()
        .map(ToOwned::to_owned)
        .zip(cells)
        .collect())
}

/// Waits until these columns of one object begin so.
fn shows(user: &User, object: &[&str], columns: &[(&str, &str)]) -> Result<()> {
    until(&format!("{object:?} shows {columns:?}"), PATIENCE, || {
        let row = row(user, object)?;
        let differ = |(name, begin): &(&str, &str)| {
            row.get(*name)
                .is_none_or(|cell| !cell.starts_with(begin) || cell.is_empty() != begin.is_empty())
        };
        ensure!(!columns.iter().any(differ), "{row:#?}");
        Ok(())
    })
}

/// Waits until the description of an object has all these words, whatever the width of its columns.
fn describes(user: &User, object: &str, words: &[&str]) -> Result<()> {
    until(
        &format!("{object} is described with {words:?}"),
        PATIENCE,
        || {
            let described = user.kubectl(&["describe", object])?;
            let plain = described.split_whitespace().collect::<Vec<_>>().join(" ");
            let missing: Vec<_> = words
                .iter()
                .filter(|word| !plain.contains(**word))
                .collect();
            ensure!(missing.is_empty(), "it lacks {missing:?}: {described}");
            Ok(())
        },
    )
}

/// A preview whose story is told.
struct Story {
    user: User,
    name: String,
    workspace: String,
    /// Selects what belongs to it.
    of: String,
}

impl Story {
    fn push(&self, step: &str) -> Result<String> {
        Ok(self
            .user
            .push_step(&self.name, &format!("{step} # {}", self.name))?[..12]
            .to_owned())
    }

    fn builds(&self, commit: &str) -> Result<()> {
        let message = format!("2 of 3 ready; app: building {commit} in pool default");
        let columns = [
            ("READY", "False"),
            ("PHASE", "Deploying"),
            ("COMPONENTS", "2/3"),
            ("URL", ""),
        ];

        shows(
            &self.user,
            &[&self.workspace],
            &[&columns[..], &[("MESSAGE", &message)]].concat(),
        )?;

        let columns = [
            ("BUILD", "app"),
            ("READY", "False"),
            ("PHASE", "Building"),
            ("POOL", "default"),
        ];
        shows(&self.user, &["builds", "-l", &self.of], &columns)?;

        let words = [
            "Components Ready: 2/3",
            "Type: Reconciling",
            "Phase: Deploying",
            "Normal Building",
        ];
        let host = format!("Host: {}-", self.name);

        describes(
            &self.user,
            &self.workspace,
            &[&words[..], &[&message, &host]].concat(),
        )
    }

    fn serves(&self, commit: &str, url: &str) -> Result<()> {
        let (user, name) = (&self.user, self.name.as_str());
        let serves = format!("{commit} serves at {url}");
        let columns = [
            ("READY", "True"),
            ("PHASE", "Healthy"),
            ("COMPONENTS", "3/3"),
            ("URL", url),
            ("EXPIRES", ""),
        ];

        shows(
            user,
            &[&self.workspace],
            &[&columns[..], &[("COMMIT", commit), ("MESSAGE", &serves)]].concat(),
        )?;

        let build = user.build(name)?;
        let build = build
            .strip_prefix("build.se.quencer.io/")
            .context("no Build")?;
        let columns = [
            ("COMPONENT", "app"),
            ("READY", "True"),
            ("PHASE", "Healthy"),
            ("REPLICAS", "1"),
        ];
        let more = [("WORKSPACE", name), ("COMMIT", commit), ("BUILD", build)];

        shows(
            user,
            &[&user.component(name, "app")?],
            &[&columns[..], &more].concat(),
        )?;

        let columns = [
            ("READY", "True"),
            ("PHASE", "Completed"),
            ("COMMIT", commit),
            ("POOL", "default"),
        ];
        let more = [
            ("IMAGE", "docker.io/myuser/ephemeralbuilds@sha256:"),
            ("WORKSPACE", name),
        ];
        shows(user, &["build", build], &[&columns[..], &more].concat())?;

        let columns = [
            ("TYPE", "CNAME"),
            ("READY", "True"),
            ("PHASE", "Completed"),
            ("TTL", "60"),
        ];
        let more = [
            ("PROVIDER", "cloudflare"),
            ("WORKSPACE-NAMESPACE", user.namespace),
            ("WORKSPACE", name),
        ];

        shows(
            &User::new()?,
            &["dnsrecords", "-l", &self.of],
            &[&columns[..], &more].concat(),
        )?;

        let words = [
            "Components Ready: 3/3",
            &format!("GET {url}/ returned 200"),
            "Timings:",
            "Normal Ready",
        ];
        let more = [
            &serves[..],
            &format!("URL: {url}"),
            &format!("Commit: {commit}"),
        ];
        describes(user, &self.workspace, &[&words[..], &more].concat())
    }

    fn fails(&self, broken: &str, serving: &str, url: &str) -> Result<()> {
        let failed = format!("E#1011 app: build of {broken} failed at");
        let columns = [
            ("READY", "False"),
            ("PHASE", "Error"),
            ("COMPONENTS", "2/3"),
            ("URL", url),
        ];
        let more = [("COMMIT", serving), ("MESSAGE", &failed)];
        shows(
            &self.user,
            &[&self.workspace],
            &[&columns[..], &more].concat(),
        )?;
        let words = [
            "exit code 7: \"nothing comes of this\"",
            "more: kubectl describe bld",
            "Warning StepFailed",
        ];
        let more = [
            &failed[..],
            &format!("{serving} still serves"),
            url,
            "Type: Stalled",
            "se.quencer.io/retry=",
        ];
        describes(&self.user, &self.workspace, &[&words[..], &more].concat())
    }
}

#[test]
fn get_and_describe_tell_the_whole_story() -> Result<()> {
    let (user, name) = (User::of(TENANTS[0])?, unique("story"));
    let (workspace, of) = (
        format!("workspace/{name}"),
        format!("se.quencer.io/workspace={name}"),
    );
    let story = Story {
        user,
        name,
        workspace,
        of,
    };

    let first = story.push("RUN sleep 25")?;
    story.user.apply_with_tunnel(&story.name)?;
    story.builds(&first)?;
    story.user.wait_ready(&story.name)?;
    let url = story.user.field(&story.workspace, ".status.url")?;
    story.serves(&first, &url)?;
    let second = story.push("RUN echo nothing comes of this && exit 7")?;
    story.fails(&second, &first, &url)?;
    story.user.delete(&story.name)
}

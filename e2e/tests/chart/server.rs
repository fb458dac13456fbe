//! An API server without nodes that the chart is installed on.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Result, ensure};
use lab::alone::Alone;
use lab::layout::text;
use lab::release::{NAME, NAMESPACE};
use lab::testing::layout;
use serde_yaml::Value;

use super::{at, chart, helm, said, word};

pub(crate) struct Server {
    alone: Alone,
    kubeconfig: String,
}

impl Server {
    pub(crate) fn start() -> Result<Self> {
        let mut alone = Alone::new(&layout()?)?;
        let kubeconfig = text(alone.control_plane()?);
        let server = Self { alone, kubeconfig };
        server.kubectl(&["create", "namespace", NAMESPACE])?;
        Ok(server)
    }

    pub(crate) fn kubectl(&self, args: &[&str]) -> Result<String> {
        self.feed(args, "")
    }

    fn feed(&self, args: &[&str], input: &str) -> Result<String> {
        let mut kubectl = Command::new(layout()?.bin("kubectl"));
        kubectl
            .args(["--kubeconfig", &self.kubeconfig])
            .args(args)
            .env("KUBECACHEDIR", self.alone.folder());

        let (done, said) = said(&mut kubectl, input)?;
        ensure!(done, "{said}");
        Ok(said)
    }

    /// Applies objects with more arguments of kubectl's.
    pub(crate) fn apply(&self, objects: &[&Value], how: &[&str]) -> Result<()> {
        let documents: Vec<_> = objects
            .iter()
            .map(serde_yaml::to_string)
            .collect::<Result<_, _>>()?;
        let args = [
            &["apply", "--server-side", "--validate=strict", "-f", "-"],
            how,
        ]
        .concat();
        self.feed(&args, &documents.join("---\n")).map(drop)
    }

    /// Whether the API server would take an object, from this user or from its administrator.
    pub(crate) fn dry_run(&self, object: &serde_json::Value, user: Option<&str>) -> Result<()> {
        let user = user.map(|user| ["--as", user]);
        let args: Vec<_> = ["create", "--dry-run=server", "-f", "-"]
            .into_iter()
            .chain(user.into_iter().flatten())
            .collect();
        self.feed(&args, &object.to_string()).map(drop)
    }

    pub(crate) fn helm(&self, args: &[&str], values: &str) -> Result<(bool, String)> {
        said(
            helm()?
                .env("KUBECONFIG", &self.kubeconfig)
                .args(args)
                .args(["--namespace", NAMESPACE]),
            values,
        )
    }

    pub(crate) fn upgrade(&self, values: &str) -> Result<(bool, String)> {
        self.helm(
            &[
                "upgrade",
                "--install",
                NAME,
                &text(chart()?),
                "--values",
                "-",
            ],
            values,
        )
    }

    /// The data of every Secret of the chart, by namespace and name.
    pub(crate) fn secrets(&self) -> Result<BTreeMap<String, Value>> {
        let selector = [
            "get",
            "secrets",
            "-A",
            "-l",
            "se.quencer.io/part",
            "-o",
            "yaml",
        ];
        let list: Value = serde_yaml::from_str(&self.kubectl(&selector)?)?;
        let items = at(&list, &["items"])
            .as_sequence()
            .cloned()
            .unwrap_or_default();
        let name = |item: &Value| {
            format!(
                "{}/{}",
                word(item, &["metadata", "namespace"]),
                word(item, &["metadata", "name"])
            )
        };

        Ok(items
            .iter()
            .map(|item| (name(item), at(item, &["data"]).clone()))
            .collect())
    }
}

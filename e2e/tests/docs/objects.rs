//! Objects before a real API server that knows the kinds, and values before the chart.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use lab::alone::Alone;
use lab::cluster::Cluster;
use lab::layout::text;
use lab::process::{fed, output};
use lab::release::{NAME, NAMESPACE, TENANTS};
use lab::testing::layout;

use crate::examples::{Block, pages, read};

/// The blocks of all pages with this fence, each with where it is.
fn marked(language: &str, mark: &str) -> Result<Vec<(String, Block)>> {
    let mut found = Vec::new();

    for page in pages(&layout()?.repository)? {
        let blocks = read(&page)?.into_iter();
        let named = |block: Block| (place(&page, &block), block);
        found.extend(blocks.filter(|block| block.is(language, mark)).map(named));
    }

    ensure!(!found.is_empty(), "no page has {language} {mark}");
    Ok(found)
}

fn place(page: &Path, block: &Block) -> String {
    format!("{}:{}", page.display(), block.line)
}

/// An API server with the chart's definitions. Fields that they do not have are errors.
struct Server {
    kubectl: String,
    kubeconfig: String,
    alone: Alone,
}

impl Server {
    fn start() -> Result<Self> {
        let layout = layout()?;
        let mut alone = Alone::new(&layout)?;
        let kubeconfig = text(alone.control_plane_with_kinds()?);
        let server = Self {
            kubectl: text(layout.bin("kubectl")),
            kubeconfig,
            alone,
        };

        // The last one is of a page that says how to tell Argo CD of the kinds.
        for namespace in TENANTS.iter().chain([&NAMESPACE, &"argocd"]) {
            output(server.kubectl().args(["create", "namespace", namespace]))?;
        }

        Ok(server)
    }

    fn kubectl(&self) -> Command {
        let mut kubectl = Command::new(&self.kubectl);
        kubectl
            .args(["--kubeconfig", &self.kubeconfig])
            .env("KUBECACHEDIR", self.alone.folder());
        kubectl
    }

    fn take(&self, objects: &str) -> Result<String> {
        let dry = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"];
        fed(self.kubectl().args(dry), objects)
    }
}

#[test]
fn an_api_server_takes_every_object_of_the_pages() -> Result<()> {
    let server = Server::start()?;

    for (place, block) in marked("yaml", "example")? {
        server.take(&block.text).context(place)?;
    }

    // It would not take a field that no kind has.
    let typo = "apiVersion: se.quencer.io/v1alpha1\nkind: Component\n\
                metadata: {name: a, namespace: team-a}\n\
                spec: {name: a, replica: 1, template: {containers: [{name: a, image: a}]}}\n";
    ensure!(server.take(typo).is_err(), "an unknown field is taken");
    Ok(())
}

#[test]
fn the_chart_renders_with_every_example_of_values() -> Result<()> {
    let cluster = Cluster::new(layout()?);
    let chart = text(cluster.layout.repository.join("charts/sequencer"));
    for (place, block) in marked("yaml", "values")? {
        // There is no cluster to derive it from.
        let id = if block.text.contains("clusterId") {
            ""
        } else {
            "clusterId: docs\n"
        };
        let mut helm = cluster.helm();
        helm.args(["template", NAME, &chart, "--namespace", NAMESPACE])
            .args(["--kube-version", "1.36.3", "--values", "-"]);
        fed(&mut helm, &format!("{id}{}", block.text)).context(place)?;
    }
    Ok(())
}

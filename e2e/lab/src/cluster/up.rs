//! Bringing the cluster up, in the order of its steps. Every step looks first and does only what is
//! missing, so `up` after anything (an interrupt, a crash, another `up`) goes on where that ended.

use std::cell::OnceCell;

use anyhow::{Context as _, Result, anyhow, bail};

use super::{Cluster, SETTLED};
use crate::install::{self, Wanted};
use crate::layout::Layout;
use crate::part::Part;
use crate::parts::node::GENERAL_NODE;
use crate::parts::{cloudflare, control_plane, git, kwok, name_server, registry, traces};
use crate::process::this_program;
use crate::progress::{Progress, Step};
use crate::secrets::Secrets;
use crate::until::until;
use crate::{image, machine, pki};

/// What is brought up besides the cluster itself. What runs already is never taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// KWOK.
    pub kwok: bool,
    /// The receiver of traces; the services send theirs to it.
    pub traces: bool,
    /// The sample, ready at its URL.
    pub sample: bool,
    /// Which programs.
    pub programs: Wanted,
}

impl Cluster {
    /// Brings everything up.
    ///
    /// # Errors
    /// A step fails; the text says which, why, and where its log is.
    pub fn up(&self, progress: &Progress, extras: Extras) -> Result<()> {
        let _held = self.hold()?;
        let extras = Extras {
            kwok: extras.kwok || self.has_part(kwok::NAME)?,
            traces: extras.traces || self.has_part(traces::NAME)?,
            ..extras
        };

        let tag = OnceCell::new();

        let mut steps = install::steps(&self.layout, extras.programs);
        steps.extend(self.ground_steps());
        steps.extend(extras.traces.then(|| {
            let what = "compile it unless it was needed before, and start";
            Step::new(traces::NAME, what, || self.start_traces())
        }));
        steps.extend(self.image_steps());
        steps.extend(self.node_steps());
        steps.extend(self.release_steps(&tag, extras.traces));
        steps.extend(extras.kwok.then(|| {
            let what = "compile it unless it was needed before, and start";
            Step::new(kwok::NAME, what, || self.start_kwok())
        }));

        let what = "wait until both nodes and every part are ready";
        steps.push(Step::new("health", what, || self.settle()));
        if extras.sample {
            steps.extend(self.sample_steps());
        }

        progress.run("the cluster came up", steps)
    }

    /// Brings the programs that are `wanted` onto the machine, or only those of these names, and
    /// starts nothing.
    ///
    /// # Errors
    /// A program cannot be had, or nothing has one of the names.
    pub fn build(&self, progress: &Progress, wanted: Wanted, names: &[String]) -> Result<()> {
        machine::check(&self.layout)?;
        self.layout.create()?;
        let mut steps = install::steps(&self.layout, wanted);
        let known: Vec<_> = steps.iter().map(Step::name).map(String::from).collect();
        if let Some(unknown) = names.iter().find(|name| !known.contains(name)) {
            bail!("there is no {unknown}: there are {}", known.join(", "));
        }

        steps.retain(|step| names.is_empty() || names.iter().any(|name| name == step.name()));
        progress.run("the programs are there", steps)
    }

    /// Namespaces, and what the cluster finds outside itself.
    fn ground_steps(&self) -> Vec<Step<'_>> {
        let certificates = Step::new("certificates", "make the test CA and all below it", || {
            pki::ensure(&self.layout, &[])
        });
        let namespaces = Step::new("namespaces", "supervisor, links, addresses, mounts", || {
            machine::save_settings(&self.layout)?;
            machine::make_folders(&self.layout)?;
            self.enter()
        });

        vec![
            certificates,
            namespaces,
            self.parts_step("registries", registry::parts),
            self.parts_step("name server", |layout, secrets| {
                Ok(vec![name_server::part(layout, secrets)?])
            }),
            self.parts_step("git server", git::parts),
            self.parts_step("cloudflare", |layout, secrets| {
                Ok(vec![cloudflare::part(layout, secrets)?])
            }),
        ]
    }

    /// Starts parts of the first node.
    fn parts_step<'a>(
        &'a self,
        name: &str,
        parts: impl FnOnce(&Layout, &Secrets) -> Result<Vec<Part>> + 'a,
    ) -> Step<'a> {
        Step::new(name, "start", || {
            let secrets = Secrets::ensure(&self.layout)?;
            self.start_all(parts(&self.layout, &secrets)?)
        })
    }

    fn start_all(&self, parts: Vec<Part>) -> Result<()> {
        parts
            .into_iter()
            .try_for_each(|part| self.general.supervisor.start(part))
    }

    fn image_steps(&self) -> Vec<Step<'_>> {
        let mut steps: Vec<_> = image::IMAGES
            .iter()
            .map(|image| {
                let name = format!("image {}", image.folder);
                Step::new(name, "build and push", || {
                    let oci = image.layout(&self.layout, &self.general)?;
                    image::push(&self.layout, &self.general, image.names, &oci)
                })
                .logs_to(image::log(&self.layout, image.folder))
            })
            .collect();
        steps.push(Step::new("images", "end what built them", || {
            image::end_building(&self.layout, &self.general)
        }));
        steps
    }

    fn node_steps(&self) -> Vec<Step<'_>> {
        let control_plane = Step::new("control plane", "etcd, API server, managers", || {
            self.start_all(control_plane::parts(&self.layout)?)
        });
        let general = Step::new("node general", "containerd, kubelet, kube-proxy", || {
            self.start_all(GENERAL_NODE.parts(&self.layout)?)
        });
        let what = "namespaces, containerd, kubelet, kube-proxy";
        let builds = Step::new("node builds", what, || self.start_builds(&this_program()?));

        vec![
            control_plane,
            general,
            builds,
            Step::new("coredns", "apply and roll out", || self.coredns()),
            Step::new("traefik", "apply and roll out", || self.traefik()),
        ]
    }

    fn release_steps<'a>(&'a self, tag: &'a OnceCell<String>, traces: bool) -> Vec<Step<'a>> {
        let images = Step::new("sequencer", "build and push its images", || {
            let made = self.provide_services()?;
            tag.set(made)
                .map_err(|_made| anyhow!("they were made before"))
        });
        let chart = Step::new(
            "sequencer",
            "install its chart, and wait for its pods",
            move || {
                let tag = tag.get().context("its images were not made")?;
                self.provide_credentials(&Secrets::ensure(&self.layout)?)?;
                self.install_chart(&self.values(tag, traces)?)
            },
        );
        vec![images, chart]
    }

    fn settle(&self) -> Result<()> {
        self.kubectl(&[
            "wait",
            "nodes/general",
            "nodes/builds",
            "--for=condition=Ready",
            "--timeout=60s",
        ])?;
        // After a crash the API shows for a moment what was true before it.
        until("every part is ready", SETTLED, || self.check_health())
    }
}

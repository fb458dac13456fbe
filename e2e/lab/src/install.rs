//! What `up` brings onto the machine: Debian packages, Python wheels, programs built from Go modules,
//! and those of this repository. Everything is pinned in `e2e/tools`, and what was built is kept in
//! the cache under a key of its inputs.

use crate::layout::Layout;
use crate::progress::Step;

pub mod debian;
pub mod go;
pub mod rust;
pub mod wheel;

/// For whom programs are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// What the cluster runs.
    #[default]
    Cluster,
    /// The same, and what only tests run.
    Tests,
    /// What the cluster runs, compiled as `docker/Dockerfile` does.
    Release,
}

/// A step for each thing that is wanted. One that the machine and the cache have already has nothing
/// to do.
#[must_use]
pub fn steps(layout: &Layout, wanted: Wanted) -> Vec<Step<'_>> {
    let tools = go::TOOLS
        .iter()
        .filter(|tool| wanted == Wanted::Tests || !tool.only_tests());

    let debian = Step::new("debian", "install packages that the machine lacks", || {
        debian::install(layout)
    });
    let wheels = Step::new("wheels", "download programs that come ready-made", || {
        wheel::install(layout)
    });
    let programs = Step::new("programs", rust::what(wanted), move || {
        rust::install(layout, wanted)
    });

    let mut steps = vec![
        debian.logs_to(debian::log(layout)),
        wheels.logs_to(wheel::log(layout)),
    ];
    steps.extend(tools.map(|tool| {
        Step::new(tool.folder, tool.what(layout), || tool.install(layout)).logs_to(tool.log(layout))
    }));
    steps.push(programs.logs_to(rust::log(layout)));
    steps
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn what_only_tests_run_is_no_step_of_the_cluster() {
        let layout = Layout {
            repository: PathBuf::new(),
            cache: PathBuf::new(),
            state: PathBuf::new(),
        };

        let names = |wanted| -> Vec<String> {
            let steps = steps(&layout, wanted);
            steps.iter().map(|step| step.name().to_owned()).collect()
        };

        let (cluster, tests) = (names(Wanted::Cluster), names(Wanted::Tests));
        assert!(cluster.iter().all(|name| tests.contains(name)));
        for only in ["kstatus", "kwok", "otelcol"] {
            assert!(!cluster.iter().any(|name| name == only), "{only}");
            assert!(tests.iter().any(|name| name == only), "{only}");
        }
    }
}

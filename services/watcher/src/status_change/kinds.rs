//! What of each kind's status is the watcher's.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use sequencer_api::status::build::BuildStatus;
use sequencer_api::status::component::ComponentStatus;
use sequencer_api::status::dns_record::DNSRecordStatus;
use sequencer_api::status::workspace::{ComponentLine, Remaining, Teardown, WorkspaceStatus};

use sequencer_api::status::{Failure, Section};

use super::{Status, gist};

/// What is the same for all: where the conditions are, and which fields are sections of others.
macro_rules! watched {
    ($($section:ident),+) => {
        fn conditions(&self) -> &[Condition] {
            &self.conditions
        }

        fn rev(&self) -> i64 {
            self.rev
        }

        fn sections(&self) -> Vec<(&'static str, &Section)> {
            vec![$((stringify!($section), &self.$section.section)),+]
        }

        fn own(self) -> Self {
            Self {
                rev: 0,
                $($section: Default::default(),)+
                ..self
            }
        }
    };
}

/// The gist of a status that has neither messages nor counts but in its conditions.
macro_rules! only_conditions_have_words {
    () => {
        fn gist(self) -> Self {
            Self {
                conditions: gist(self.conditions),
                ..self
            }
        }
    };
}

impl Status for WorkspaceStatus {
    watched!(tunnel, route, ingress);

    fn notable(self) -> Self {
        Self {
            timings: Vec::new(),
            ..self
        }
    }

    fn gist(self) -> Self {
        let bare = |line| ComponentLine {
            message: None,
            ..line
        };
        let unexplained = |left| Remaining {
            message: None,
            ..left
        };
        Self {
            conditions: gist(self.conditions),
            components: self.components.into_iter().map(bare).collect(),
            components_ready: None,
            teardown: self.teardown.map(|teardown| Teardown {
                remaining: teardown.remaining.into_iter().map(unexplained).collect(),
                ..teardown
            }),
            ..self
        }
    }

    fn depended_on(&self) -> [Option<&str>; 3] {
        [&self.host, &self.url, &self.commit].map(Option::as_deref)
    }
}

impl Status for ComponentStatus {
    watched!(source, deploy);
    only_conditions_have_words!();

    fn failure(&self) -> Option<&Failure> {
        self.deploy.failure.as_ref()
    }

    fn newest(&self) -> Option<&str> {
        self.latest_build.as_deref()
    }
}

impl Status for BuildStatus {
    watched!(image, publish);
    only_conditions_have_words!();
}

impl Status for DNSRecordStatus {
    watched!(record);
    only_conditions_have_words!();
}

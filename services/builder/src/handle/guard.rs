//! While a Build is built: the claim is renewed, and the build ends as soon as nobody wants it.

use jiff::Timestamp;
use kube::{Api, ResourceExt as _};
use sequencer_api::status::Claim;
use sequencer_api::{Build, labels};
use sequencer_runtime::bus::Outcome;
use sequencer_runtime::claim::renewed;
use sequencer_runtime::cluster;
use tokio::time::sleep;
use tracing::{info, warn};

use super::{Service, record};

/// A renewal that failed is tried so many times more often.
const AGAIN: u32 = 10;

/// The object that is built.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'a> {
    pub(super) api: &'a Api<Build>,
    pub(super) name: &'a str,
    pub(super) uid: &'a str,
}

impl Service {
    /// Keeps the claim alive, and returns once it is lost: nobody may work on then.
    pub(super) async fn guard(&self, target: Target<'_>, claim: &Claim) -> Outcome {
        let mut until = claim.until.0;
        let mut pause = self.terms.renew;
        loop {
            sleep(pause).await;
            pause = self.terms.renew / AGAIN;
            let now = Timestamp::now();
            let mut section = match cluster::current(target.api, target.name, target.uid).await {
                Ok(Some(found)) => found.status.unwrap_or_default().image,
                Ok(None) => return given_up("it is gone", Outcome::Gone),
                // As long as the claim lives nobody else begins.
                Err(_) if now < until => continue,
                Err(_) => return given_up("its claim could not be renewed", Outcome::NotRecorded),
            };
            let Some(claim) = renewed(section.section.claim.as_ref(), &self.holder, self.terms, now) else {
                return given_up("somebody else has its claim", Outcome::ClaimedElsewhere);
            };
            let (next, rev) = (claim.until.0, section.section.rev);
            section.section.claim = Some(claim);
            match record(target.api, target.name, target.uid, "image", rev, &section).await {
                Ok(_) => (until, pause) = (next, self.terms.renew),
                // It is read again soon; if the claim is not ours any more, that shows.
                Err(_) if now < until => {}
                Err(_) => return given_up("its claim could not be renewed", Outcome::NotRecorded),
            }
        }
    }

    /// Returns once nobody wants the Build.
    pub(super) async fn unwanted(&self, target: Target<'_>) -> Outcome {
        loop {
            sleep(self.look).await;
            match cluster::current(target.api, target.name, target.uid).await {
                Ok(None) => return given_up("it is gone", Outcome::Gone),
                Ok(Some(found)) if is_unwanted(&found) => {
                    return given_up("it is deleted, or a newer commit took its place", Outcome::Stale);
                }
                Ok(Some(_)) => {}
                Err(_) => warn!("the API server does not tell whether a Build is still wanted"),
            }
        }
    }
}

/// Whether nobody wants a Build any more.
pub(super) fn is_unwanted(build: &Build) -> bool {
    build.metadata.deletion_timestamp.is_some() || build.annotations().contains_key(labels::SUPERSEDED_BY)
}

fn given_up(why: &'static str, outcome: Outcome) -> Outcome {
    info!(why, "a build is given up");
    outcome
}

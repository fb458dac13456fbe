//! Work under a claim: taken, kept while it goes on, and given back.

use std::time::Duration;

use jiff::Timestamp;
use sequencer_api::code::Code;
use sequencer_api::status::{Claim, State, StatusSection};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::warn;

use super::Work;
use crate::bus::Outcome;
use crate::error::chain;
use crate::retry::Retry;
use crate::section::Stop;
use crate::section::claim::{POISON, Verdict, judge, renewed};
use crate::section::failure::Failing;
use crate::section::patch::RecordError;
use crate::status_writer::WORDS;

/// A renewal that failed is tried so many times more often.
const RENEW_AGAIN: u32 = 10;

impl<S: StatusSection> Work<S> {
    /// Whether the work may be claimed.
    ///
    /// # Errors
    /// Another has it, or it was begun too often without an end (E#6101).
    pub fn claimable(&self) -> Result<Claim, Stop> {
        let before = self.recorded.common().claim.as_ref();
        let (holder, terms) = (&self.sections.holder, self.sections.terms);

        match judge(before, holder, terms, Timestamp::now()) {
            Verdict::Take(claim) => Ok(claim),
            Verdict::Elsewhere(_) => Err(Stop::Ended(Outcome::ClaimedElsewhere)),
            Verdict::Poison => Err(Stop::Failed(poisoned(self.sections.poison))),
        }
    }

    /// Claims the work, and records with the claim what the section says by now, with this state.
    /// The claim ends with the record of the end.
    ///
    /// # Errors
    /// As [`Work::claimable`], or it cannot be recorded.
    pub async fn claim(&mut self, state: State) -> Result<(), Stop> {
        let claim = self.claimable()?;
        let generation = self.generation;

        let section = self.section.common_mut();
        section.claim = Some(claim);
        section.state = Some(state);
        if section.observed_generation != Some(generation) {
            // A failure of another generation is another failure.
            section.observed_generation = Some(generation);
            section.retry = None;
        }

        Ok(self.record().await?)
    }

    /// Gives the claim back: the work did not end without a result, it did not begin.
    ///
    /// # Errors
    /// See [`RecordError`].
    pub async fn release(&mut self) -> Result<(), RecordError> {
        let section = self.section.common_mut();
        section.claim = None;
        section.state = Some(State::Waiting);
        self.record().await
    }

    /// Lets `work` run, and keeps the claim alive meanwhile. Work that was not claimed is claimed
    /// once it takes longer than the time between two renewals.
    ///
    /// # Errors
    /// The claim is lost, or could not be renewed before it was over. `work` is dropped then.
    pub async fn guard<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Stop> {
        let (_silent, nothing) = watch::channel(());
        self.guard_and_tell(work, nothing, |_section, ()| {}).await
    }

    /// As [`Work::guard`], and records by `tell` how far `work` has come: what is new in `news`,
    /// every [`WORDS`] at most.
    ///
    /// # Errors
    /// As [`Work::guard`].
    pub async fn guard_and_tell<T, N: Clone>(
        &mut self,
        work: impl Future<Output = T>,
        mut news: watch::Receiver<N>,
        tell: impl Fn(&mut S, N),
    ) -> Result<T, Stop> {
        let pause = self.sections.terms.renew;
        let mut work = std::pin::pin!(work);
        let begun = Instant::now();
        let (mut renew_at, mut tell_at) = (begun + pause, begun + WORDS);

        loop {
            tokio::select! {
                biased;
                done = &mut work => return Ok(done),
                () = sleep_until(renew_at) => {
                    let renewed = self.renew().await;
                    let next = if renewed.is_ok() { pause } else { pause / RENEW_AGAIN };
                    renewed.or_else(|error| self.tolerate(error))?;
                    renew_at = Instant::now() + next;
                }
                () = changed_after(tell_at, &mut news) => {
                    tell(&mut self.section, news.borrow_and_update().clone());
                    let told = self.record().await.map_err(Stop::from);
                    told.or_else(|error| self.tolerate(error))?;
                    tell_at = Instant::now() + WORDS;
                }
            }
        }
    }

    async fn renew(&mut self) -> Result<(), Stop> {
        let before = self.recorded.common().claim.as_ref();
        let (holder, terms) = (&self.sections.holder, self.sections.terms);

        match renewed(before, holder, terms, Timestamp::now()) {
            Some(claim) => {
                self.section.common_mut().claim = Some(claim);
                Ok(self.record().await?)
            }
            None => self.claim(State::InProgress).await,
        }
    }

    /// Whether work may go on although this could not be recorded: nobody else begins as long
    /// as the claim lives.
    fn tolerate(&self, error: Stop) -> Result<(), Stop> {
        let until = self
            .recorded
            .common()
            .claim
            .as_ref()
            .map(|claim| claim.until.0);
        match error {
            Stop::Record(RecordError::Cluster(error))
                if until.is_none_or(|until| until > Timestamp::now()) =>
            {
                warn!(error = chain(&error), "Failed to record work that goes on");
                Ok(())
            }
            error => Err(error),
        }
    }
}

/// Waits for news, and does not look for any before this moment.
async fn changed_after<N>(moment: Instant, news: &mut watch::Receiver<N>) {
    sleep_until(moment).await;
    if news.changed().await.is_err() {
        std::future::pending().await
    }
}

fn poisoned(after: Duration) -> Failing {
    Failing {
        code: Code::WorkInterrupted,
        message: format!(
            "the work ended {POISON} times in a row without a result: the log says why"
        ),
        retry: Retry::Wait(after),
        may_be_a_secrets: false,
        state: State::Error,
    }
}

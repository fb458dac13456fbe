//! A plan carried out, and what the API server does not take of it.

use sequencer_api::code::Code;
use sequencer_proto::topics::Kind;
use sequencer_runtime::cluster::denial::Denial;
use sequencer_runtime::telemetry::join_workspace;
use tracing::{Instrument as _, info_span, warn};

use super::Context;
use crate::apply::{apply, resource};
use crate::denied::{Denied, Write};
use crate::error::Error;
use crate::plan::{Action, Event, Plan, Subject};

impl Context {
    /// Carries out the actions of a plan, and remembers which of them the API server does not take.
    /// The plan's own Events are for when all of it is done.
    ///
    /// # Errors
    /// Something else failed; the rest is left for the next time.
    pub(super) async fn apply(&self, subject: &Subject, plan: &mut Plan) -> Result<(), Error> {
        let target = &subject.target;
        if plan.first.is_empty() && plan.actions.is_empty() {
            self.cache.denials.set(target.uuid(), Vec::new());
            return Ok(());
        }

        let span = info_span!(
            "apply",
            kind = target.kind.word(),
            namespace = target.namespace,
            name = target.name
        );
        join_workspace(&span, subject.owner);

        self.carry_out(subject, plan).instrument(span).await
    }

    async fn carry_out(&self, subject: &Subject, plan: &mut Plan) -> Result<(), Error> {
        let uid = subject.target.uuid();
        let before = self.cache.denials.of(uid);
        let (mut denied, mut events) = (Vec::new(), Vec::new());
        let (mut stuck, mut failed) = (false, None);

        let first = plan.first.iter().map(|action| (true, action));
        let others = plan.actions.iter().map(|action| (false, action));

        for (needed, action) in first.chain(others) {
            let write = Write::Action(action);
            let known = before
                .iter()
                .find(|known| known.is(action.kind(), &action.name()));
            let mut refused = known.cloned();

            if !stuck
                && failed.is_none()
                && !known.is_some_and(|known| known.holds_back(subject, write))
            {
                match self.attempt(action).await {
                    Ok(denial) => {
                        refused = denial.map(|denial| Denied::new(subject, write, denial, known));
                        let news = refused.as_ref().filter(|refused| refused.is_first());
                        events.extend(news.and_then(|news| tell(subject, action, news)));
                    }
                    Err(error) => failed = Some(error),
                }
            }

            stuck |= needed && refused.is_some();
            denied.extend(refused);
        }

        for each in &denied {
            plan.again_at(each.again_at(subject.now));
        }
        if failed.is_some() || !denied.is_empty() {
            plan.events.clear();
        }
        plan.events.append(&mut events);

        self.cache.denials.set(uid, denied);
        failed.map_or(Ok(()), Err)
    }

    /// Carries out one action, unless the API server does not take it.
    async fn attempt(&self, action: &Action) -> Result<Option<Denial>, Error> {
        let Err(error) = apply(&self.client, action).await else {
            return Ok(None);
        };
        error.denial().map(Some).ok_or(error)
    }

    /// The status of an object is not taken: an Event is all that is left to say so.
    pub(super) async fn status_denied(&self, subject: &Subject, words: String) -> Denied {
        let target = &subject.target;
        let denial = Denial {
            kind: format!("the status of {}", resource(target.kind).kind),
            name: target.name.clone(),
            code: Code::AdmissionDenied,
            words,
        };

        let before = self.cache.denials.of_status(target.uuid());
        let denied = Denied::new(subject, Write::Status, denial, before.as_ref());
        if denied.is_first() {
            log(subject, &denied);
            self.events.publish(&denied.event(subject)).await;
        }

        let denials = &self.cache.denials;
        denials.set_status(target.uuid(), denied.clone());
        denied
    }
}

/// Logs that an action was refused, and returns the Event where no condition says so: what is only
/// to be deleted makes nothing less ready.
fn tell(subject: &Subject, action: &Action, denied: &Denied) -> Option<Event> {
    log(subject, denied);
    let conditions = matches!(subject.target.kind, Kind::Workspace | Kind::Component);
    let told = conditions && !matches!(action, Action::Delete(_));
    (!told).then(|| denied.event(subject))
}

fn log(subject: &Subject, denied: &Denied) {
    let target = &subject.target;
    warn!(
        kind = target.kind.word(),
        namespace = target.namespace,
        name = target.name,
        message = denied.message(),
        "The API server refused a write"
    );
}

//! Waking handlers: often enough that nothing waits, and no more. What was woken is remembered in memory alone: after a
//! restart everything unfinished is woken once more.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use sequencer_api::status::Section;
use sequencer_proto::topics::{ASKED, Command, Pool, Verb};
use sequencer_runtime::bus::{Bus, PublishError};
use sequencer_runtime::retry::later;
use sequencer_runtime::telemetry::join_workspace;
use tracing::{Instrument as _, info_span, warn};
use uuid::Uuid;

use crate::plan::{Plan, Rhythm, Target, Wake};
use crate::section::{Due, due};

/// The object whose worker may have to be woken.
#[derive(Clone, Copy, Debug)]
pub struct Work<'a> {
    /// The object.
    pub target: &'a Target,
    /// Its Workspace's uid, or its own.
    pub workspace: Uuid,
    /// Its generation.
    pub generation: i64,
    /// What users change to try again now.
    pub retry: &'a str,
    /// Now.
    pub now: Timestamp,
}

/// Plans to wake the worker of a section. `more` is what it depends on besides the object itself.
pub fn call(
    plan: &mut Plan,
    work: &Work<'_>,
    verb: Verb,
    pool: Option<Pool>,
    section: &Section,
    settled: bool,
    more: &str,
) {
    let rhythm = match due(section, settled, work.generation, work.now) {
        Due::Never => return,
        Due::Now => Rhythm::Now,
        Due::At(at) => {
            plan.again_at(at);
            Rhythm::Held
        }
        Due::Secret(at) => {
            plan.again_at(at);
            Rhythm::Secret
        }
    };
    // A wait that is over is another state of the object.
    let key = format!("{}/{}/{rhythm:?}/{more}", work.generation, section.rev);
    plan.wakes.push(wake(work, verb, pool, key, rhythm));
}

/// A wake for an object.
#[must_use]
pub fn wake(work: &Work<'_>, verb: Verb, pool: Option<Pool>, key: String, rhythm: Rhythm) -> Wake {
    let Work { target, workspace, retry, .. } = *work;
    Wake { verb, pool, workspace, target: target.clone(), key, retry: retry.into(), rhythm }
}

/// How long the rhythms are.
#[derive(Clone, Copy, Debug)]
pub struct Rhythms {
    /// Between looks at what is unfinished.
    pub resync: Duration,
    /// Between looks at a Secret.
    pub secret: Duration,
}

/// What was woken, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Memo {
    key: String,
    retry: String,
    at: Timestamp,
}

/// What to do about a wake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Verdict {
    /// Send it, and why.
    send: Option<&'static str>,
    /// When to decide again.
    next: Option<Timestamp>,
}

/// By what was woken before.
fn judge(before: Option<&Memo>, wake: &Wake, rhythms: Rhythms, now: Timestamp) -> Verdict {
    let every = match wake.rhythm {
        Rhythm::Now => Some(rhythms.resync),
        Rhythm::Poll(every) => Some(every),
        Rhythm::Secret => Some(rhythms.secret),
        Rhythm::Held | Rhythm::Once => None,
    };
    let same = before.filter(|before| before.key == wake.key);
    let over = |since: Timestamp| every.is_some_and(|every| later(since, every) <= now);
    let send = match (before, same, wake.rhythm) {
        (Some(before), ..) if before.retry != wake.retry => Some(ASKED),
        (_, None, Rhythm::Now | Rhythm::Once | Rhythm::Poll(_)) => Some("something changed"),
        (_, None, Rhythm::Secret | Rhythm::Held) => None,
        (_, Some(same), _) => over(same.at).then_some("not finished yet"),
    };
    let since = if send.is_some() { now } else { same.map_or(now, |same| same.at) };
    Verdict { send, next: every.map(|every| later(since, every)) }
}

/// Wakes handlers over the bus.
#[derive(Debug)]
pub struct Wakes {
    bus: Bus,
    rhythms: Rhythms,
    memos: Mutex<HashMap<(Verb, Uuid), Memo>>,
}

impl Wakes {
    /// Nothing was woken yet.
    #[must_use]
    pub fn new(bus: Bus, rhythms: Rhythms) -> Self {
        Self { bus, rhythms, memos: Mutex::default() }
    }

    /// Everything may be lost: what is unfinished is woken again when it is looked at.
    pub fn forget_all(&self) {
        self.lock().clear();
    }

    /// The object is gone.
    pub fn forget(&self, uid: Uuid) {
        self.lock().retain(|(_, other), _| *other != uid);
    }

    /// Wakes, if it is time, and says when to decide again.
    pub async fn send(&self, wake: &Wake, now: Timestamp) -> Option<Timestamp> {
        let id = (wake.verb, wake.target.uuid());
        let verdict = judge(self.lock().get(&id), wake, self.rhythms, now);
        if let Some(why) = verdict.send
            && let Err(error) = self.publish(wake, why).await
        {
            let error = error.to_string();
            warn!(verb = wake.verb.word(), name = wake.target.name, error, "cannot wake a handler");
            self.lock().remove(&id);
            return Some(later(now, RETRY));
        }
        let mut memos = self.lock();
        let changed = memos.get(&id).is_none_or(|memo| memo.key != wake.key || memo.retry != wake.retry);
        if changed || verdict.send.is_some() {
            memos.insert(id, Memo { key: wake.key.clone(), retry: wake.retry.clone(), at: now });
        }
        verdict.next
    }

    async fn publish(&self, wake: &Wake, why: &str) -> Result<(), PublishError> {
        let command = Command::new(wake.verb, wake.pool.clone(), wake.workspace, wake.target.uuid());
        let Ok(command) = command else { return Ok(()) };
        let Target { kind, namespace, name, .. } = &wake.target;
        let span = info_span!("wake", verb = wake.verb.word(), kind = kind.word(), namespace, name);
        join_workspace(&span, wake.workspace);
        self.bus.wake(&command, namespace, name, why).instrument(span).await
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(Verb, Uuid), Memo>> {
        self.memos.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long to wait when NATS took nothing.
const RETRY: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use sequencer_proto::topics::Kind;

    use super::*;

    const RHYTHMS: Rhythms = Rhythms { resync: Duration::from_secs(60), secret: Duration::from_secs(30) };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn wake_of(key: &str, rhythm: Rhythm) -> Wake {
        let target = Target { kind: Kind::Build, namespace: "n".into(), name: "b".into(), uid: Uuid::nil().into() };
        let work = Work { target: &target, workspace: Uuid::nil(), generation: 1, retry: "", now: at(0) };
        wake(&work, Verb::Push, None, key.into(), rhythm)
    }

    fn memo(key: &str, second: i64) -> Memo {
        Memo { key: key.into(), retry: String::new(), at: at(second) }
    }

    fn sent(before: Option<&Memo>, wake: &Wake, now: i64) -> bool {
        judge(before, wake, RHYTHMS, at(now)).send.is_some()
    }

    #[test]
    fn what_is_unfinished_is_woken_at_once_with_each_change_and_with_each_resync() {
        let wake = wake_of("a", Rhythm::Now);
        assert!(sent(None, &wake, 0));
        assert!(!sent(Some(&memo("a", 0)), &wake, 59) && sent(Some(&memo("a", 0)), &wake, 60));
        assert!(sent(Some(&memo("b", 0)), &wake, 1));
        assert_eq!(judge(Some(&memo("a", 5)), &wake, RHYTHMS, at(6)).next, Some(at(65)));
    }

    #[test]
    fn a_secret_is_looked_at_every_half_minute_and_not_at_once() {
        let wake = wake_of("a", Rhythm::Secret);
        assert!(!sent(None, &wake, 0) && !sent(Some(&memo("b", 0)), &wake, 100));
        assert!(!sent(Some(&memo("a", 0)), &wake, 29) && sent(Some(&memo("a", 0)), &wake, 30));
        assert_eq!(judge(None, &wake, RHYTHMS, at(7)).next, Some(at(37)));
    }

    #[test]
    fn what_is_settled_is_woken_once_for_each_state() {
        let wake = wake_of("a", Rhythm::Once);
        assert!(sent(None, &wake, 0) && sent(Some(&memo("b", 0)), &wake, 0));
        assert!(!sent(Some(&memo("a", 0)), &wake, 100_000));
    }

    #[test]
    fn what_is_held_is_woken_only_when_a_user_says_so() {
        let mut wake = wake_of("a", Rhythm::Held);
        assert!(!sent(None, &wake, 0) && !sent(Some(&memo("a", 0)), &wake, 1000));
        wake.retry = "again".into();
        assert!(sent(Some(&memo("a", 0)), &wake, 1));
        assert!(!sent(None, &wake, 1));
        assert_eq!(judge(None, &wake, RHYTHMS, at(0)).next, None);
    }
}

//! Who builds, and when BuildKit has to be another one.

use std::collections::BTreeSet;
use std::time::Duration;

use sequencer_runtime::error::chain;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{error, info};

use super::daemon::{Daemon, DaemonError};
use super::processes::Process;

/// How long BuildKit may take to end by itself.
const GRACE: Duration = Duration::from_secs(2);

/// How long the processes of a build may take to end after it: those that ran its steps are just
/// ending.
const SETTLE: Duration = Duration::from_secs(1);

/// The wait between two checks of them.
const PAUSE: Duration = Duration::from_millis(50);

/// So many starts in a row that failed end this process: the kubelet says so, and waits longer each
/// time.
const ATTEMPTS: u32 = 5;

/// The wait after the first of them, which doubles.
const WAIT: Duration = Duration::from_millis(200);

/// So many processes are named in a log.
const NAMED: usize = 20;

/// How a build ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// BuildKit is done with it.
    Built,
    /// BuildKit gave up on it, and may not be done with all of its steps.
    Failed,
    /// Its builder gave up on it or died, or BuildKit did.
    GivenUp,
}

/// Why BuildKit is started anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Ended,
    GivenUp,
    Frozen,
    Leftovers,
    Failed,
    OtherNamespace,
}

impl Why {
    /// How long BuildKit may take to end by itself. Where a build may still be at work, nothing of
    /// it has any time.
    fn grace(self) -> Duration {
        match self {
            Self::Leftovers | Self::Failed | Self::OtherNamespace => GRACE,
            Self::Ended | Self::GivenUp | Self::Frozen => Duration::ZERO,
        }
    }
}

/// What is known while nobody builds.
#[derive(Clone, Debug, Default)]
struct Seen<'a> {
    alive: bool,
    frozen: bool,
    leftovers: usize,
    /// The worst end of a build since BuildKit was started, but for [`End::Built`].
    end: Option<End>,
    /// The namespaces that built since then.
    guests: Vec<&'a str>,
}

/// Whether BuildKit has to be started anew, and before a build of `next`, if one is to begin.
fn judge(seen: &Seen<'_>, next: Option<&str>) -> Option<Why> {
    let rules = [
        (!seen.alive, Why::Ended),
        (seen.end == Some(End::GivenUp), Why::GivenUp),
        (seen.frozen, Why::Frozen),
        (seen.leftovers > 0, Why::Leftovers),
        (seen.end == Some(End::Failed), Why::Failed),
        (
            next.is_some_and(|next| seen.guests.iter().any(|guest| *guest != next)),
            Why::OtherNamespace,
        ),
    ];
    rules
        .into_iter()
        .find_map(|(holds, why)| holds.then_some(why))
}

/// BuildKit and its builds.
pub(super) struct House {
    daemon: Daemon,
    builds: usize,
    /// As in [`Seen`].
    guests: BTreeSet<String>,
    end: Option<End>,
}

impl House {
    pub(super) fn new(daemon: Daemon) -> Self {
        Self {
            daemon,
            builds: 0,
            guests: BTreeSet::new(),
            end: None,
        }
    }

    /// Changes when BuildKit ends.
    pub(super) fn ended(&self) -> watch::Receiver<u64> {
        self.daemon.ended()
    }

    /// Starts BuildKit if it does not run and nobody builds.
    pub(super) async fn keep(&mut self) -> Result<(), DaemonError> {
        if self.builds == 0 && !self.daemon.is_alive() {
            self.start(Duration::ZERO).await
        } else {
            Ok(())
        }
    }

    /// A build of this namespace begins: says whether it has BuildKit fresh, and tells when
    /// BuildKit ends. Nothing if other builds have to end first.
    pub(super) async fn enter(
        &mut self,
        namespace: &str,
    ) -> Result<Option<(bool, watch::Receiver<u64>)>, DaemonError> {
        if self.builds == 0 {
            self.settle(Some(namespace), Duration::ZERO).await?;
        }

        let ended = self.daemon.ended();

        if !self.daemon.is_alive() {
            return Ok(None);
        }

        let fresh = self.guests.is_empty();
        self.builds += 1;
        self.guests.insert(namespace.into());
        Ok(Some((fresh, ended)))
    }

    pub(super) async fn leave(&mut self, end: End) -> Result<(), DaemonError> {
        self.builds = self.builds.saturating_sub(1);
        if end != End::Built && self.end != Some(End::GivenUp) {
            self.end = Some(end);
        }

        if self.builds > 0 {
            Ok(())
        } else {
            self.settle(None, SETTLE).await
        }
    }

    pub(super) async fn end(&mut self, grace: Duration) -> Result<(), DaemonError> {
        self.daemon.stop(grace).await
    }

    /// Starts BuildKit anew if it has to be. Processes that are just ending have `patience`.
    async fn settle(&mut self, next: Option<&str>, patience: Duration) -> Result<(), DaemonError> {
        let mut seen = Seen {
            alive: self.daemon.is_alive(),
            end: self.end,
            guests: self.guests.iter().map(String::as_str).collect(),
            ..Seen::default()
        };

        let mut left = Vec::new();

        // Where it is decided already nobody looks first: a build that takes all processors would
        // only gain time.
        if judge(&seen, None).is_none_or(|why| why != Why::Ended && why != Why::GivenUp) {
            let patience = if seen.end.is_none() {
                patience
            } else {
                Duration::ZERO
            };
            (left, seen.frozen) = self.left(patience).await?;
            (seen.leftovers, seen.alive) = (left.len(), self.daemon.is_alive());
        }

        let Some(why) = judge(&seen, next) else {
            return Ok(());
        };

        let begun = Instant::now();
        self.start(why.grace()).await?;
        let seconds = begun.elapsed().as_secs_f32();

        if left.is_empty() {
            info!(?why, seconds, "Restarted BuildKit");
        } else {
            let named: Vec<_> = left
                .iter()
                .take(NAMED)
                .map(|left| format!("{} {}", left.pid, left.name))
                .collect();
            info!(?why, seconds, count = left.len(), processes = ?named, "Build left processes behind; restarted BuildKit");
        }

        Ok(())
    }

    /// What builds left behind, once it is nothing or the patience is over, and whether BuildKit
    /// was stopped.
    async fn left(&self, patience: Duration) -> Result<(Vec<Process>, bool), DaemonError> {
        let deadline = Instant::now() + patience;
        loop {
            let (left, frozen) = self.daemon.left_behind()?;
            if left.is_empty() || Instant::now() >= deadline {
                return Ok((left, frozen));
            }
            sleep(PAUSE).await;
        }
    }

    /// Ends whatever runs, and starts BuildKit.
    async fn start(&mut self, grace: Duration) -> Result<(), DaemonError> {
        let mut wait = WAIT;

        for attempt in 1.. {
            self.daemon.stop(grace).await?;
            match self.daemon.start().await {
                Ok(()) => break,
                Err(error) if attempt >= ATTEMPTS => {
                    error!(error = chain(&error), attempt, "Failed to start BuildKit");
                    return Err(error);
                }
                Err(error) => error!(
                    error = chain(&error),
                    attempt, "Failed to start BuildKit; trying again"
                ),
            }

            sleep(wait).await;
            wait *= 2;
        }

        self.guests.clear();
        self.end = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Seen<'static> {
        Seen {
            alive: true,
            guests: vec!["team-a"],
            ..Seen::default()
        }
    }

    #[test]
    fn a_build_of_the_same_namespace_goes_on_where_the_last_one_left_nothing() {
        assert_eq!(judge(&seen(), Some("team-a")), None);
        assert_eq!(
            judge(
                &Seen {
                    guests: vec![],
                    ..seen()
                },
                Some("team-b")
            ),
            None
        );
        assert_eq!(judge(&seen(), None), None);
    }

    #[test]
    fn a_build_of_another_namespace_gets_a_fresh_one() {
        assert_eq!(judge(&seen(), Some("team-b")), Some(Why::OtherNamespace));
        // Several built side by side: it is nobody's own any more.
        let both = || Seen {
            guests: vec!["team-a", "team-b"],
            ..seen()
        };

        assert_eq!(judge(&both(), Some("team-a")), Some(Why::OtherNamespace));
        assert_eq!(judge(&both(), None), None);
    }

    #[test]
    fn whatever_a_build_may_have_left_makes_it_fresh_at_once() {
        for (seen, wanted) in [
            (
                Seen {
                    leftovers: 1,
                    ..seen()
                },
                Why::Leftovers,
            ),
            (
                Seen {
                    end: Some(End::Failed),
                    ..seen()
                },
                Why::Failed,
            ),
            (
                Seen {
                    end: Some(End::GivenUp),
                    leftovers: 1,
                    ..seen()
                },
                Why::GivenUp,
            ),
            (
                Seen {
                    frozen: true,
                    ..seen()
                },
                Why::Frozen,
            ),
            (
                Seen {
                    alive: false,
                    ..seen()
                },
                Why::Ended,
            ),
        ] {
            assert_eq!(judge(&seen, None), Some(wanted));
            assert_eq!(judge(&seen, Some("team-a")), Some(wanted));
        }
    }
}

//! Waiting for something to become true, with a deadline.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// The same where looking starts no program.
const SOON: Duration = Duration::from_millis(10);
/// How long anything may take: images are pulled, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(90);

/// Looks until `check` succeeds and returns what it found.
///
/// # Errors
/// It still fails at the deadline; the text says `what` was awaited and how it failed last.
pub fn until<T>(what: &str, patience: Duration, mut check: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        match check() {
            Err(error) if Instant::now() >= deadline => {
                return Err(error)
                    .with_context(|| format!("still not after {} s: {what}", patience.as_secs()));
            }
            Err(_) => std::thread::sleep(LOOK),
            done => return done,
        }
    }
}

/// [`until`] for a task.
///
/// # Errors
/// As there.
pub async fn eventually<T>(what: &str, check: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    eventually_within(what, PATIENCE, SOON, check).await
}

/// Looks until `check` says so.
///
/// # Errors
/// As [`until`].
pub async fn holds(what: &str, check: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    holds_within(what, PATIENCE, check).await
}

/// Looks until `check` says so, at most so long.
///
/// # Errors
/// As [`until`].
pub async fn holds_within(
    what: &str,
    patience: Duration,
    mut check: impl AsyncFnMut() -> Result<bool>,
) -> Result<()> {
    let check = async || {
        ensure!(check().await?, "it does not hold");
        Ok(())
    };
    eventually_within(what, patience, SOON, check).await
}

/// [`eventually`] at most so long, and looked at this often.
///
/// # Errors
/// As [`until`].
pub async fn eventually_within<T>(
    what: &str,
    patience: Duration,
    look: Duration,
    mut check: impl AsyncFnMut() -> Result<T>,
) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        match check().await {
            Err(error) if Instant::now() >= deadline => {
                return Err(error)
                    .with_context(|| format!("still not after {} s: {what}", patience.as_secs()));
            }
            Err(_) => tokio::time::sleep(look).await,
            done => return done,
        }
    }
}

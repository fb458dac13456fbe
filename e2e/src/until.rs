//! Waiting for something to become true, with a deadline.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Looks until `check` succeeds and returns what it found.
///
/// # Errors
/// It still fails at the deadline; the text says `what` was awaited and how it failed last.
pub fn until<T>(what: &str, patience: Duration, mut check: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        match check() {
            Err(error) if Instant::now() >= deadline => {
                return Err(error).with_context(|| format!("still not after {} s: {what}", patience.as_secs()));
            }
            Err(_) => std::thread::sleep(LOOK),
            done => return done,
        }
    }
}

//! The API's rate limit: so many requests in a window, then nothing until the block is over.
use std::time::Duration;

use tokio::time::Instant;

/// How many requests a token may make, in which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Requests a window takes.
    pub requests: u32,
    /// The length of the window, and of the block that follows when it is exceeded.
    pub window: Duration,
}

impl Default for Limit {
    fn default() -> Self {
        Self {
            requests: 1_200,
            window: Duration::from_secs(300),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Limiter {
    limit: Limit,
    opened: Instant,
    used: u32,
    blocked: Option<Instant>,
}

/// How long the caller has to wait.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Exceeded(pub(crate) Duration);

impl Limiter {
    pub(crate) fn new(limit: Limit, now: Instant) -> Self {
        Self {
            limit,
            opened: now,
            used: 0,
            blocked: None,
        }
    }

    /// Takes one request, and says how many more the window holds.
    pub(crate) fn take(&mut self, now: Instant) -> Result<u32, Exceeded> {
        if let Some(until) = self.blocked {
            if now < until {
                return Err(Exceeded(until - now));
            }
            *self = Self::new(self.limit, now);
        }

        if now.duration_since(self.opened) >= self.limit.window {
            *self = Self::new(self.limit, now);
        }

        if self.used >= self.limit.requests {
            self.blocked = Some(now + self.limit.window);
            return Err(Exceeded(self.limit.window));
        }

        self.used += 1;
        Ok(self.limit.requests - self.used)
    }

    pub(crate) fn limit(&self) -> Limit {
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(300);

    #[test]
    fn the_request_over_the_limit_starts_the_block() {
        let start = Instant::now();
        let mut limiter = Limiter::new(
            Limit {
                requests: 2,
                window: WINDOW,
            },
            start,
        );
        assert_eq!(limiter.take(start), Ok(1));
        assert_eq!(limiter.take(start + WINDOW / 2), Ok(0));
        let exceeded = start + WINDOW / 2;
        assert_eq!(limiter.take(exceeded), Err(Exceeded(WINDOW)));
        // The window itself is over, the block is not.
        assert_eq!(
            limiter.take(exceeded + WINDOW - Duration::from_secs(1)),
            Err(Exceeded(Duration::from_secs(1)))
        );
        assert_eq!(limiter.take(exceeded + WINDOW), Ok(1));
    }

    #[test]
    fn a_new_window_starts_empty() {
        let start = Instant::now();
        let mut limiter = Limiter::new(
            Limit {
                requests: 1,
                window: WINDOW,
            },
            start,
        );
        assert_eq!(limiter.take(start), Ok(0));
        assert_eq!(limiter.take(start + WINDOW), Ok(0));
    }
}

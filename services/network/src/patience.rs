//! How handlers wait for what takes its time elsewhere: a little themselves, and then from one
//! message to the next.

use std::time::Duration;

use sequencer_api::status::State;
use tokio::time::{Instant, sleep};

/// Every so many checks everything is checked, and in between only what was missing.
const WHOLE: i32 = 8;

/// Asks until the answer will do, or for so long. Returns the last answer.
pub(crate) async fn poll<T, F: Future<Output = T>>(
    patience: Duration,
    pause: Duration,
    mut ask: impl FnMut() -> F,
    will_do: impl Fn(&T) -> bool,
) -> T {
    let until = Instant::now() + patience;
    loop {
        let answer = ask().await;
        if will_do(&answer) || Instant::now() >= until {
            return answer;
        }

        sleep(pause).await;
    }
}

/// Whether this check is only of what was missing, after so many checks that found it missing.
pub(crate) fn is_partial(checks: i32) -> bool {
    checks % WHOLE != 0
}

/// Whether something may still be missing after so many checks that found it missing.
pub(crate) fn is_early(checks: i32, slow: i32) -> bool {
    checks < slow
}

/// The state of something that is missing once more: under way while it is early, then a failure.
pub(crate) fn state(checks: i32, slow: i32) -> State {
    if is_early(checks, slow) {
        State::InProgress
    } else {
        State::Error
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// How often it is asked, with this pause, until the third answer or for this long.
    async fn asked(patience: Duration, pause: Duration) -> (i32, i32) {
        let asked = Cell::new(0);
        let ask = || {
            asked.update(|times| times + 1);
            let answer = asked.get();
            async move { answer }
        };

        let last = poll(patience, pause, ask, |answer| *answer == 3).await;
        (last, asked.get())
    }

    #[tokio::test]
    async fn it_is_asked_until_an_answer_will_do_and_the_last_one_counts_when_time_is_over() {
        let (hour, none) = (Duration::from_secs(3600), Duration::ZERO);
        assert_eq!(asked(hour, none).await, (3, 3));
        assert_eq!(asked(none, hour).await, (1, 1));
    }

    #[test]
    fn the_first_check_and_each_eighth_after_it_is_of_everything() {
        let whole: Vec<_> = (0..=16).filter(|checks| !is_partial(*checks)).collect();
        assert_eq!(whole, [0, 8, 16]);
    }

    #[test]
    fn what_is_missing_too_often_is_a_failure() {
        assert_eq!(state(0, 2), State::InProgress);
        assert_eq!(state(1, 2), State::InProgress);
        assert_eq!(state(2, 2), State::Error);
    }
}

//! Errors as logs show them, and panics as errors.

use std::error::Error;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;

/// Work panicked. What and where is in the log, by the panic itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it panicked")]
pub struct Panicked;

/// Awaits work on one object. A panic in it is that object's trouble, and no other's.
///
/// # Errors
/// The work panicked.
pub async fn catch_panic<F: Future>(work: F) -> Result<F::Output, Panicked> {
    let caught = AssertUnwindSafe(work).catch_unwind().await;
    caught.map_err(|_panic| Panicked)
}

/// An error with its causes, from the outermost to the innermost, as one line. An error that passes
/// on its source's words does not say them twice.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }

    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_and_a_result_is_itself() {
        let empty: Vec<u8> = Vec::new();

        assert_eq!(catch_panic(async { 1 }).await, Ok(1));
        assert_eq!(catch_panic(async { empty[0] }).await, Err(Panicked));
    }
}

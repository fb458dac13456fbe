//! Errors as logs show them.

use std::error::Error;

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

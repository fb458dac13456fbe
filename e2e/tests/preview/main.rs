//! Previews on the cluster, as a user makes and sees them.

#![expect(clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

mod deletion;
mod errors;
mod manifest;
mod reuse;
mod sample;
mod updates;
mod walk;
mod writes;

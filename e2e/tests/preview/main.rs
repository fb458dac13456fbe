//! Previews on the cluster, as a user makes and sees them.

#![expect(clippy::indexing_slicing, reason = "a test that cannot go on has failed")]

mod errors;
mod sample;
mod updates;
mod walk;
mod writes;

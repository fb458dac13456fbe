//! Previews on the cluster, as a user makes and sees them.

mod errors;
mod sample;
mod updates;
mod walk;

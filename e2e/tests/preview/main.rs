//! Previews on the cluster, as a user makes and sees them.

#![expect(
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod attacks;
mod canary;
mod chaos;
mod deletion;
mod edits;
mod errors;
mod heal;
mod kstatus;
mod manifest;
mod pools;
mod reuse;
mod sample;
mod stage;
mod story;
mod trace;
mod updates;
mod user;
mod writes;

//! What one tenant tries against another, and what the owner does in the same way: the first is
//! refused, the second works.

mod builds;
mod exposure;
mod labels;
mod mirror;
mod policies;
mod rendering;
mod superseded;
mod volumes;

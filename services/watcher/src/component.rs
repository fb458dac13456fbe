//! A Component: its branches resolved, its image built, its pods rolled out.

mod builds;
mod plan;
mod status;
mod view;

pub(crate) use builds::{desired, resolved};
pub use view::ComponentView;

//! A Workspace: its Components, its host, its way in, and its end.

mod children;
mod dns;
mod expiry;
mod plan;
mod status;
mod teardown;
mod timings;
mod view;

pub use timings::took;
pub use view::WorkspaceView;

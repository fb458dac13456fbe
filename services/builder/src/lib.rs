//! The builder: finds the commits that branches stand at, and builds images from them with BuildKit.

pub mod buildkit;
pub mod git;
pub mod redact;

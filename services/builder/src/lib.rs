//! The builder: finds the commits that branches stand at, and builds images from them with BuildKit.

pub mod git;

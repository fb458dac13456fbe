//! The watcher: the only service that decides what happens next. It makes children, wakes handlers, derives conditions
//! and takes things down in their order; it touches nothing outside the API server.

pub mod apply;
pub mod args;
pub mod build;
pub mod component;
pub mod conditions;
pub mod error;
pub mod family;
pub mod leader;
pub mod pace;
pub mod plan;
pub mod reconcile;
pub mod record;
pub mod section;
pub mod service;
pub mod tell;
pub mod unreadable;
pub mod wakes;
pub mod workspace;
pub mod world;

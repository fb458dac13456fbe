//! The watcher: the only service that decides what happens next. It makes children, notifies handlers,
//! derives conditions and takes things down in their order; it touches nothing outside the API
//! server.

mod abandon;
pub mod apply;
pub mod args;
pub mod build;
pub mod cache;
pub mod chart;
pub mod component;
pub mod conditions;
pub mod controllers;
pub mod denied;
pub mod error;
pub mod events;
pub mod leader;
pub mod notifier;
pub mod owned;
pub mod plan;
pub mod pools;
pub mod reconcile;
pub mod record;
pub mod retry;
pub mod service;
pub mod status_change;
pub mod triggers;
pub mod unreadable;
pub mod workspace;

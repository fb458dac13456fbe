//! What the API was asked, and what came into being and went, by name.
use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use serde::Serialize;

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Objects {
    pub(crate) creates: BTreeMap<String, u64>,
    pub(crate) updates: BTreeMap<String, u64>,
    pub(crate) deletes: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Counts {
    /// Every call that arrived, as `METHOD /route/{template}`.
    calls: BTreeMap<String, u64>,
    /// Every answer of the API, by status.
    answers: BTreeMap<u16, u64>,
    rate_limited: u64,
    /// An update is a PUT of the configuration.
    tunnels: Objects,
    records: Objects,
}

#[derive(Debug, Default)]
pub(crate) struct Counters(Mutex<Counts>);

/// What happened to an object.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    Create,
    Update,
    Delete,
}

impl Objects {
    fn count(&mut self, event: Event, name: &str) {
        let names = match event {
            Event::Create => &mut self.creates,
            Event::Update => &mut self.updates,
            Event::Delete => &mut self.deletes,
        };
        *names.entry(name.to_owned()).or_default() += 1;
    }
}

impl Counters {
    fn with<R>(&self, count: impl FnOnce(&mut Counts) -> R) -> R {
        count(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn all(&self) -> Counts {
        self.with(|counts| counts.clone())
    }

    pub(crate) fn reset(&self) {
        self.with(|counts| *counts = Counts::default());
    }

    pub(crate) fn call(&self, method: &str, template: &str) {
        self.with(|counts| {
            *counts
                .calls
                .entry(format!("{method} {template}"))
                .or_default() += 1
        });
    }

    pub(crate) fn answer(&self, status: u16) {
        self.with(|counts| *counts.answers.entry(status).or_default() += 1);
    }

    pub(crate) fn rate_limited(&self) {
        self.with(|counts| counts.rate_limited += 1);
    }

    pub(crate) fn tunnel(&self, event: Event, name: &str) {
        self.with(|counts| counts.tunnels.count(event, name));
    }

    pub(crate) fn record(&self, event: Event, name: &str) {
        self.with(|counts| counts.records.count(event, name));
    }
}

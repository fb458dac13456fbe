//! What is counted. Names of objects are never labels.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Seconds: from a handler that finds nothing to do, to a long build.
const BUCKETS: [f64; 10] = [
    0.005, 0.025, 0.1, 0.5, 2.0, 10.0, 30.0, 120.0, 600.0, 1800.0,
];

/// The metrics of this process. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    pub(crate) handled: Family<Handled, Counter>,
    pub(crate) seconds: Family<VerbLabel, Histogram, Buckets>,
    pub(crate) in_flight: Gauge,
    pub(crate) undecodable: Counter,
    pub(crate) published: Counter,
    pub(crate) rebinds: Counter,
    pub(crate) slow_consumers: Counter,
}

/// Labels of handled messages.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Handled {
    pub(crate) verb: &'static str,
    pub(crate) outcome: &'static str,
}

/// Labels of durations.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct VerbLabel {
    pub(crate) verb: &'static str,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Buckets;

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(BUCKETS)
    }
}

impl Metrics {
    /// Adds a service's own metrics, which begin with `sequencer_` by themselves.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// All of them in the OpenMetrics format.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a String cannot fail.
        text::encode(&mut text, &registry).map_or_else(|_error| String::new(), |()| text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            registry: Arc::new(Mutex::new(Registry::with_prefix("sequencer"))),
            handled: Family::default(),
            seconds: Family::new_with_constructor(Buckets),
            in_flight: Gauge::default(),
            undecodable: Counter::default(),
            published: Counter::default(),
            rebinds: Counter::default(),
            slow_consumers: Counter::default(),
        };
        metrics.register(|registry| {
            registry.register("messages", "Commands handled", metrics.handled.clone());
            registry.register(
                "handle_seconds",
                "How long handling a command took",
                metrics.seconds.clone(),
            );
            registry.register(
                "in_flight",
                "Commands being handled",
                metrics.in_flight.clone(),
            );
            registry.register(
                "undecodable",
                "Messages that nobody here can read",
                metrics.undecodable.clone(),
            );
            registry.register("published", "Commands sent", metrics.published.clone());
            registry.register(
                "rebinds",
                "Times that a consumer had to be looked up again",
                metrics.rebinds.clone(),
            );
            registry.register(
                "slow_consumers",
                "Times that NATS dropped messages",
                metrics.slow_consumers.clone(),
            );
        });
        metrics
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_shown_under_their_names() {
        let metrics = Metrics::default();
        metrics
            .handled
            .get_or_create(&Handled {
                verb: "push",
                outcome: "done",
            })
            .inc();

        assert!(
            metrics
                .text()
                .contains("sequencer_messages_total{verb=\"push\",outcome=\"done\"} 1")
        );
        assert!(metrics.text().ends_with("# EOF\n"));
    }
}

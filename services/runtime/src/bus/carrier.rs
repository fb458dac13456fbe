//! The trace context in a message's headers.

use async_nats::HeaderMap;
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::TraceContextExt as _;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use uuid::Uuid;

use crate::telemetry::workspace_context;

/// Headers with the trace of the current span; without one, of the Workspace.
pub(super) fn inject(workspace: Uuid) -> HeaderMap {
    let mut context = tracing::Span::current().context();
    if !context.span().span_context().is_valid() {
        context = workspace_context(workspace);
    }
    let mut headers = HeaderMap::new();
    TraceContextPropagator::new().inject_context(&context, &mut Into(&mut headers));
    headers
}

/// The trace in the headers, if there is one.
pub(super) fn extract(headers: Option<&HeaderMap>) -> Option<Context> {
    let context =
        TraceContextPropagator::new().extract_with_context(&Context::new(), &From(headers?));
    context.span().span_context().is_valid().then_some(context)
}

struct Into<'a>(&'a mut HeaderMap);

impl Injector for Into<'_> {
    fn set(&mut self, key: &str, value: String) {
        // An empty tracestate says nothing.
        if !value.is_empty() {
            self.0.insert(key, value);
        }
    }
}

struct From<'a>(&'a HeaderMap);

impl Extractor for From<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(async_nats::HeaderValue::as_str)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.iter().map(|(name, _)| name.as_ref()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::workspace_span;

    const UID: Uuid = Uuid::from_u128(0x4f2a_91c0_d3e8_4b6a_8c1d_0123_4567_89ab);

    #[test]
    fn without_a_span_of_its_own_a_message_is_part_of_its_workspaces_trace() {
        let context = extract(Some(&inject(UID))).unwrap();
        assert_eq!(*context.span().span_context(), workspace_span(UID));
    }

    #[test]
    fn without_headers_or_with_garbage_there_is_no_trace() {
        assert!(extract(None).is_none());
        assert!(extract(Some(&HeaderMap::new())).is_none());
        let mut headers = HeaderMap::new();
        headers.insert(
            "traceparent",
            "00-00000000000000000000000000000000-0000000000000000-01",
        );
        assert!(extract(Some(&headers)).is_none());
    }
}

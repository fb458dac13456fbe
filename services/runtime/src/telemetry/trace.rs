//! One trace per Workspace. Its ids come from the Workspace's uid, so every service knows them
//! without a message.

use std::cell::Cell;
use std::time::SystemTime;

use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState,
    Tracer as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use uuid::Uuid;

/// The root span of a Workspace's trace: the trace id is the uid's 16 bytes.
#[must_use]
pub fn workspace_span(workspace: Uuid) -> SpanContext {
    let (high, low) = workspace.as_u64_pair();
    let span = SpanId::from((high ^ low).max(1));

    SpanContext::new(
        TraceId::from(workspace.as_u128()),
        span,
        TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    )
}

/// A context with the Workspace's root span as the parent of what is done next.
#[must_use]
pub fn workspace_context(workspace: Uuid) -> Context {
    Context::new().with_remote_span_context(workspace_span(workspace))
}

/// Makes a span part of a Workspace's trace.
pub fn join_workspace(span: &tracing::Span, workspace: Uuid) {
    // It fails only where there are no traces.
    drop(span.set_parent(workspace_context(workspace)));
}

/// Records the root span itself, from the Workspace's creation until now. Once per Workspace;
/// everything else may be recorded before it.
pub fn root_span(
    name: &'static str,
    workspace: Uuid,
    created: SystemTime,
    attributes: Vec<KeyValue>,
) {
    let tracer = opentelemetry::global::tracer("sequencer");
    let builder = tracer
        .span_builder(name)
        .with_start_time(created)
        .with_attributes(attributes);
    let root = workspace_span(workspace);
    NEXT.set(Some((root.trace_id(), root.span_id())));
    let mut span = tracer.build_with_context(builder, &Context::new());
    NEXT.set(None);
    span.end();
}

thread_local! {
    /// The ids of a root span that is being made in this thread.
    static NEXT: Cell<Option<(TraceId, SpanId)>> = const { Cell::new(None) };
}

/// Random ids, but for root spans.
#[derive(Debug, Default)]
pub(super) struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        NEXT.get()
            .map_or_else(|| self.0.new_trace_id(), |(trace, _)| trace)
    }

    fn new_span_id(&self) -> SpanId {
        NEXT.get()
            .map_or_else(|| self.0.new_span_id(), |(_, span)| span)
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};

    use super::*;

    const UID: Uuid = Uuid::from_u128(0x4f2a_91c0_d3e8_4b6a_8c1d_0123_4567_89ab);

    #[test]
    fn the_trace_id_is_the_uid() {
        let span = workspace_span(UID);
        assert_eq!(span.trace_id().to_string(), UID.simple().to_string());
        assert!(span.is_valid() && span.is_sampled() && span.is_remote());
        assert!(workspace_span(Uuid::from_u64_pair(7, 7)).is_valid());
    }

    #[test]
    fn the_root_span_is_the_parent_that_children_name() {
        let spans = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder()
            .with_id_generator(Ids::default())
            .with_simple_exporter(spans.clone())
            .build();
        opentelemetry::global::set_tracer_provider(provider.clone());
        let child = provider.tracer("test").span_builder("child");
        child
            .start_with_context(&provider.tracer("test"), &workspace_context(UID))
            .end();
        root_span("Workspace", UID, SystemTime::UNIX_EPOCH, Vec::new());

        let spans = spans.get_finished_spans().unwrap();
        let [child, root] = spans.as_slice() else {
            panic!("{spans:?}")
        };

        assert_eq!(root.span_context.trace_id(), child.span_context.trace_id());
        assert_eq!(root.span_context.span_id(), child.parent_span_id);
        assert_eq!(root.parent_span_id, SpanId::INVALID);
        assert_eq!(root.start_time, SystemTime::UNIX_EPOCH);
    }
}

//! Log lines as cloudflared writes them: `2026-01-01T00:00:00Z INF Starting tunnel tunnelID=...`.
use std::fmt;

use jiff::{RoundMode, Timestamp, TimestampRound, Unit};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    filter::LevelFilter,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

pub(crate) fn init(level: LevelFilter) {
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr);
    subscriber.event_format(Lines).init();
}

struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let second = TimestampRound::new()
            .smallest(Unit::Second)
            .mode(RoundMode::Trunc);
        let now = Timestamp::now();
        let now = now.round(second).unwrap_or(now);
        let level = match *event.metadata().level() {
            Level::ERROR => "ERR",
            Level::WARN => "WRN",
            Level::INFO => "INF",
            Level::DEBUG | Level::TRACE => "DBG",
        };

        let mut line = Line::default();
        event.record(&mut line);
        writeln!(writer, "{now} {level} {}{}", line.message, line.fields)
    }
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Line {
    fn add(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else if value.contains([' ', '"', '=']) {
            self.fields += &format!(" {}={value:?}", field.name());
        } else {
            self.fields += &format!(" {}={value}", field.name());
        }
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value);
    }
}

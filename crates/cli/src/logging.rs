//! The program's own log, on standard error: a JSON object a line, or text for whoever sits at a terminal.
//!
//! A line has its time, level and target; within a request its `request_id`, and its `trace_id` where the caller
//! gave one. What is personal or secret is never a field of an event: a test reads a server's whole log for it.

use std::fmt;
use std::io::IsTerminal as _;
use std::sync::{Mutex, OnceLock, PoisonError};

use record::Clock as _;
use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::{LookupSpan, Scope};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::environment::SystemClock;
use crate::traces;

/// What is logged where nobody says.
const LEVEL: &str = "info";
/// Variables that say it where the option does not: an older name of ours, and everybody's.
const OTHERS: [&str; 2] = ["RLHF_AUDIT_LOG", "RUST_LOG"];

/// How a server logs.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Log")]
pub(crate) struct LogArgs {
    /// How servers log [default: text on a terminal, else json]
    #[arg(long, global = true, value_enum, env = "RLHF_AUDIT_LOG_FORMAT")]
    log_format: Option<Format>,
    /// What servers log: error, warn, info, debug or trace, or levels by module such as `info,server=debug`
    /// [default: `RUST_LOG`, else info]
    #[arg(
        long,
        global = true,
        value_name = "LEVEL",
        value_parser = level,
        env = "RLHF_AUDIT_LOG_LEVEL"
    )]
    log_level: Option<String>,
    /// Send traces of requests to the OpenTelemetry collector at this URL (OTLP over HTTP, usually on port 4318)
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "OTEL_EXPORTER_OTLP_ENDPOINT"
    )]
    otlp_endpoint: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

fn level(text: &str) -> Result<String, String> {
    match EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

static ARGS: Mutex<LogArgs> = Mutex::new(LogArgs {
    log_format: None,
    log_level: None,
    otlp_endpoint: None,
});
static STARTED: OnceLock<(Format, reload::Handle<EnvFilter, Registry>)> = OnceLock::new();

/// Says how to log; a log that was started follows.
pub(crate) fn configure(args: LogArgs) {
    let filter = filter(&args);
    *ARGS.lock().unwrap_or_else(PoisonError::into_inner) = args;
    if let Some((_, handle)) = STARTED.get() {
        // It fails only where the subscriber is gone, and with it the log.
        let _ = handle.reload(filter);
    }
}

/// Logs from now on.
pub(crate) fn start(json: bool) {
    let args = ARGS.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let plain = !json && std::io::stderr().is_terminal();
    let format = args
        .log_format
        .unwrap_or(if plain { Format::Text } else { Format::Json });
    let (filter, handle) = reload::Layer::new(filter(&args));
    let endpoint = args.otlp_endpoint.as_deref().filter(|url| !url.is_empty());
    let (tracer, refused) = match endpoint.map(traces::start).transpose() {
        Ok(tracer) => (tracer, None),
        Err(error) => (None, Some(error)),
    };
    let spans = tracer.map(|tracer| tracing_opentelemetry::layer().with_tracer(tracer));
    let subscriber = tracing_subscriber::registry().with(filter).with(spans);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let started = match format {
        Format::Json => subscriber
            .with(layer.fmt_fields(JsonFields::new()).event_format(JsonLine))
            .try_init(),
        Format::Text => subscriber
            .with(layer.with_ansi(std::io::stderr().is_terminal()))
            .try_init(),
    };
    // A second call leaves the first logger in place.
    if started.is_ok() {
        let _ = STARTED.set((format, handle));
    }
    if let Some(error) = refused {
        tracing::error!(error, "no traces are sent");
    }
}

/// Tells what whoever starts a server waits for, whatever the level is.
pub(crate) fn announce(text: &str) {
    match STARTED.get() {
        Some((Format::Json, _)) => {
            let line = Head::now("INFO", "rlhf_audit").with(&json!({ "message": text }));
            eprintln!("{line}");
        }
        _ => eprintln!("rlhf-audit: {text}"),
    }
}

fn filter(args: &LogArgs) -> EnvFilter {
    let other = || {
        let set = OTHERS.iter().filter_map(|name| std::env::var(name).ok());
        set.into_iter().find(|text| !text.is_empty())
    };
    let text = args.log_level.clone().or_else(other);
    text.and_then(|text| EnvFilter::try_new(text).ok())
        .unwrap_or_else(|| EnvFilter::new(LEVEL))
}

/// What every line begins with.
struct Head<'a> {
    time: record::Timestamp,
    level: &'a str,
    target: &'a str,
}

impl<'a> Head<'a> {
    fn now(level: &'a str, target: &'a str) -> Self {
        let time = SystemClock.now();
        Self {
            time,
            level,
            target,
        }
    }

    fn with(&self, rest: &Value) -> String {
        let target = Value::from(self.target);
        let head = format!(
            r#"{{"timestamp":"{}","level":"{}","target":{target}"#,
            self.time, self.level
        );
        // The rest is an object, which goes on where the head ends.
        match rest.to_string().strip_prefix('{') {
            Some("}") | None => format!("{head}}}"),
            Some(rest) => format!("{head},{rest}"),
        }
    }
}

/// An event as one line: the fields of the spans around it, then its own.
struct JsonLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Map::new();
        for span in context.event_scope().into_iter().flat_map(Scope::from_root) {
            let extensions = span.extensions();
            let text = extensions
                .get::<FormattedFields<N>>()
                .map(|text| text.as_str());
            if let Some(Ok(Value::Object(of_span))) = text.map(serde_json::from_str) {
                // What is only for a collector of traces.
                let ours = of_span
                    .into_iter()
                    .filter(|(name, _)| !name.starts_with("otel."));
                fields.extend(ours);
            }
        }
        event.record(&mut Fields(&mut fields));
        let head = Head::now(event.metadata().level().as_str(), event.metadata().target());
        writeln!(writer, "{}", head.with(&Value::Object(fields)))
    }
}

struct Fields<'a>(&'a mut Map<String, Value>);

impl Fields<'_> {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }
}

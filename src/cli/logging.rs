//! The destination and the format of log lines.

use std::io;

use anyhow::Context as _;
use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// Text, for people to read.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// The filter of log lines unless GREENROOM_LOG sets another.
const USUAL_FILTER: &str = "info";

/// The directives that are added to any filter that does not name these targets. The HTTP server
/// logs its threads, which are of no interest, and as errors the requests that are not HTTP.
const LEFT_OUT: &str = "actix_server=warn,actix_http=off,rmcp=off,rmcp_actix_web=off";

/// Starts logging to standard error. `filter` has the syntax of `tracing-subscriber`
/// (`info,greenroom::actors=debug`). Without it, the level is `info`, and `warn` for the HTTP
/// server's own lines.
pub fn start(format: Format, filter: Option<&str>) -> anyhow::Result<()> {
    let filter = filter.unwrap_or(USUAL_FILTER);
    let filter = EnvFilter::try_new(format!("{LEFT_OUT},{filter}"))
        .with_context(|| format!("GREENROOM_LOG: `{filter}` is not a filter such as `info`"))?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = match format {
        Format::Text => {
            let colors = io::IsTerminal::is_terminal(&io::stderr());
            lines.with_ansi(colors).with_target(false).try_init()
        }
        Format::Json => lines.json().flatten_event(true).with_current_span(true).try_init(),
    };
    started.map_err(|cause| anyhow::anyhow!("the logs could not be set up: {cause}"))
}

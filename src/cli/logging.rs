//! Where log lines go and what they look like.

use std::io;

use anyhow::Context as _;
use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// What log lines look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One object for each line.
    Json,
}

/// What is written unless GREENROOM_LOG says otherwise.
const USUAL_FILTER: &str = "info";

/// What is left out whatever the filter says, unless it names these itself: the HTTP server reports
/// its threads, which concern nobody, and as errors what clients send that is not HTTP.
const LEFT_OUT: &str = "actix_server=warn,actix_http=off";

/// Sends the log lines of this process to standard error from now on. `filter` is written as
/// `tracing-subscriber` has it (`info,greenroom::actors=debug`); without it, `info`, with the HTTP server's own lines from `warn` up.
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

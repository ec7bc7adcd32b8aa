//! The command `greenroom demo-site`: serves a directory of files.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::Ending;
use super::output::say;
use crate::http::static_site;

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  greenroom demo-site --dir demo/site --listen 127.0.0.1:0")]
pub(super) struct Arguments {
    /// The directory whose files are served.
    #[arg(long)]
    dir: PathBuf,
    /// The loopback address to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

/// Serves the directory until interrupted.
pub(super) async fn demo_site(arguments: &Arguments) -> anyhow::Result<Ending> {
    let Arguments { dir, listen } = arguments;
    let listening = |address| say(format_args!("listening on http://{address}"));
    static_site::serve_directory(dir, *listen, listening)
        .await
        .with_context(|| format!("cannot serve {} on {listen}", dir.display()))?;
    Ok(Ending::Done)
}

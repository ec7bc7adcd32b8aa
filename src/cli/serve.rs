//! The command `greenroom serve`: runs the server.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use tracing::warn;

use super::Ending;
use super::logging::{self, Format};
use crate::app::{self, ServeOptions};
use crate::config::{self, Environment, Flag, Loaded, Settings};
use crate::system::doctor;

const EXAMPLES: &str = "\
Examples:
  greenroom serve
  greenroom serve --listen 127.0.0.1:0 --data /srv/greenroom
  greenroom serve --config greenroom.toml --keep-sessions --log-format json

Prints `listening on http://ADDRESS:PORT` on standard output once it serves. GREENROOM_LOG selects
which log lines are written (default: info).";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(flatten)]
    settings: SettingsArguments,
    /// Leave the browsers to the next server when this one stops.
    #[arg(long)]
    keep_sessions: bool,
    /// Give each session a stand-in without programs in place of a desktop, to measure the server itself.
    #[arg(long, hide = true)]
    stand_ins: bool,
    /// The format of log lines.
    #[arg(long, value_enum, default_value_t, env = "GREENROOM_LOG_FORMAT")]
    log_format: Format,
}

/// Flags that override settings.
#[derive(Debug, Args)]
pub(super) struct SettingsArguments {
    /// The settings file [env: GREENROOM_CONFIG; default: /etc/greenroom/greenroom.toml if it
    /// exists].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The address to listen on; port 0 takes a free one [env: GREENROOM_LISTEN; default:
    /// 127.0.0.1:8787].
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// The directory of all stored data [env: GREENROOM_DATA; default: greenroom in the user's data
    /// directory].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The address of PostgreSQL or of an SQLite file [env: GREENROOM_DATABASE_URL; default: an
    /// SQLite file in the data directory].
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
}

impl SettingsArguments {
    /// Returns the settings in force with these flags.
    pub(super) fn load(&self, environment: &Environment) -> anyhow::Result<Loaded<Settings>> {
        let listen = self.listen.map(|listen| listen.to_string());
        let data = self.data.as_ref().map(|data| data.to_string_lossy().into_owned());
        let flags = [
            ("--listen", "http.listen", listen),
            ("--data", "data", data),
            ("--database-url", "database.url", self.database_url.clone()),
        ];
        let flags = flags
            .into_iter()
            .filter_map(|(name, key, value)| Some(Flag::new(name, key, value?)))
            .collect();
        Ok(config::load(environment, self.config.as_deref(), flags)?)
    }
}

/// Serves until a signal stops the server.
pub(super) async fn serve(
    arguments: Arguments,
    environment: &Environment,
) -> anyhow::Result<Ending> {
    let Arguments { settings, keep_sessions, stand_ins, log_format } = arguments;
    let loaded = settings.load(environment)?;
    let shown = config::show::as_json(&loaded)?;
    let Loaded { settings, warnings, .. } = loaded;
    logging::start(log_format, environment.log_filter())?;
    for warning in warnings {
        warn!("{warning}");
    }
    let missing = doctor::missing_packages(&settings.desktop);
    if stand_ins {
        warn!("sessions have no browser: they are stand-ins, see `greenroom bench scale`");
    } else if !missing.is_empty() {
        warn!(
            "no session can start until programs are installed: apt-get install {}",
            missing.join(" ")
        );
    }
    app::serve(settings, ServeOptions { keep_sessions, stand_ins, shown }).await?;
    Ok(Ending::Done)
}

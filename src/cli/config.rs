//! The command `greenroom config`: prints the settings in force.

use clap::Args;

use super::Ending;
use super::output::{note, say, say_json};
use super::serve::SettingsArguments;
use crate::config::{Environment, show};

const EXAMPLES: &str = "\
Examples:
  greenroom config > greenroom.toml         a file to start from
  GREENROOM_HTTP__LISTEN=127.0.0.1:9000 greenroom config

Flags override variables GREENROOM_SECTION__KEY (two underscores between levels); these override the
file, and the file overrides the defaults. Short names of variables: GREENROOM_LISTEN, GREENROOM_DATA,
GREENROOM_DATABASE_URL, GREENROOM_BOOTSTRAP_KEY, GREENROOM_OPERATOR_KEY.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(flatten)]
    settings: SettingsArguments,
    /// Print JSON: the settings, and the origin of each.
    #[arg(long)]
    json: bool,
}

/// Prints the settings in force.
pub(super) fn config(arguments: &Arguments, environment: &Environment) -> anyhow::Result<Ending> {
    let loaded = arguments.settings.load(environment)?;
    for warning in &loaded.warnings {
        note(format_args!("warning: {warning}"));
    }
    if arguments.json {
        say_json(&show::as_json(&loaded)?);
    } else {
        say(show::as_toml(&loaded)?.trim_end());
    }
    Ok(Ending::Done)
}

//! The command `greenroom leaks`: lists or removes what ended sessions have left behind.

use clap::Args;
use serde_json::json;

use super::Ending;
use super::output::{Table, say, say_json};
use super::serve::SettingsArguments;
use crate::app;
use crate::config::Environment;
use crate::domain::leak::Leak;

const HELP: &str = "\
Examples:
  greenroom leaks --data /var/lib/greenroom
  greenroom leaks --fix --json

Reads the data directory, its database and the machine itself, whether or not a server runs there.
A running server also answers GET /admin/leaks, which compares its actors as well.

Exit codes: 0 there are no leaks, or none after --fix; 1 there are leaks.";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    #[command(flatten)]
    settings: SettingsArguments,
    /// Remove the leaks that provably belong to this server.
    #[arg(long)]
    fix: bool,
    /// Print JSON: `healthy`, the list `leaks` and, with --fix, the list `removed`.
    #[arg(long)]
    json: bool,
}

/// Lists the leaks, or removes them.
pub(super) async fn leaks(
    arguments: &Arguments,
    environment: &Environment,
) -> anyhow::Result<Ending> {
    let settings = arguments.settings.load(environment)?.settings;
    let ledger = app::ledger(&settings).await?;
    let (removed, left) = if arguments.fix {
        let fixed = ledger.fix().await?;
        (fixed.removed, fixed.left)
    } else {
        (Vec::new(), ledger.inspect().await?)
    };
    let healthy = left.is_empty();
    if arguments.json {
        say_json(&match arguments.fix {
            true => json!({ "healthy": healthy, "removed": removed, "leaks": left }),
            false => json!({ "healthy": healthy, "leaks": left }),
        });
    } else {
        report(&removed, &left, arguments.fix);
    }
    Ok(if healthy { Ending::Done } else { Ending::Failed })
}

fn report(removed: &[Leak], left: &[Leak], fix: bool) {
    for leak in removed {
        say(format_args!("removed: {}", leak.what));
    }
    if left.is_empty() {
        return say(if removed.is_empty() { "no leaks" } else { "no leaks are left" });
    }
    let mut table = Table::new(&["KIND", "WHAT", "SINCE", "WHY", "FIX"]);
    for leak in left {
        table.row([
            leak.kind.as_str().to_owned(),
            leak.what.clone(),
            leak.since.map_or_else(|| "-".to_owned(), |since| since.to_rfc3339()),
            leak.why.clone(),
            leak.remedy.clone(),
        ]);
    }
    table.print();
    if !fix && left.iter().any(|leak| leak.fixable) {
        say("\n`greenroom leaks --fix` removes what provably belongs to this server");
    }
}

//! The command `greenroom upgrade-check`: checks whether this version can take over from a former one.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::Args;
use serde_json::{Value, json};

use super::Ending;
use super::changelog::{self, Entry, Version};
use super::checks::{Check, State, report};
use super::output::{note, say};
use super::serve::SettingsArguments;
use crate::app::upgrade::{self, Remains};
use crate::config::{Environment, Settings};
use crate::db::standing::{Live, NodeSeen, Standing};
use crate::domain::ids::NodeId;
use crate::domain::tenancy::Node;

const HELP: &str = "\
Examples:
  ./greenroom-new upgrade-check --config /etc/greenroom/greenroom.toml
  greenroom upgrade-check --data /var/lib/greenroom --json

Run it with the NEW program, as the user of the server, with its settings, before the upgrade; the former
server may run meanwhile. Nothing is changed: pending migrations are tried on a copy of an SQLite file,
in the data directory, which needs twice the room of the file.

Exit codes: 0 the new server will start; 1 it will not, and the table says why.";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    #[command(flatten)]
    settings: SettingsArguments,
    /// Do not try the pending migrations on a copy.
    #[arg(long)]
    no_trial: bool,
    /// Print JSON: `ok`, the list `checks`, the versions `from` and `to`, and `upgrading`.
    #[arg(long)]
    json: bool,
}

/// Runs the checks and prints their results.
pub(super) async fn upgrade_check(
    arguments: &Arguments,
    environment: &Environment,
) -> anyhow::Result<Ending> {
    let loaded = match arguments.settings.load(environment) {
        Ok(loaded) => loaded,
        Err(cause) => {
            let hint = "correct the settings; CHANGELOG.md names those that were renamed";
            let refused = check("settings", State::Refused, format!("{cause:#}"), Some(hint));
            return Ok(report(&[refused], &[], arguments.json));
        }
    };
    let mut checks = vec![match loaded.warnings.as_slice() {
        [] => check("settings", State::Ok, "are read as they are".to_owned(), None),
        warnings => {
            check("settings", State::Warn, warnings.join("; "), Some("see `greenroom config`"))
        }
    }];
    let settings = loaded.settings;
    let remains = upgrade::remains(&settings).await;
    checks.extend(data_directory(&settings, &remains));
    let mut from = None;
    match &remains.database {
        Ok(None) => {
            let found = "there is none yet; the first start makes it".to_owned();
            checks.push(check("database", State::Ok, found, None));
        }
        Ok(Some(standing)) => {
            let now = Utc::now();
            from = Some(former_version(standing, remains.node));
            checks.push(database(&settings, standing, !arguments.no_trial).await);
            checks.extend(versions(standing, remains.node, now));
            checks.extend(
                remains.node.into_iter().flat_map(|node| living(&settings, standing, node)),
            );
        }
        Err(cause) => {
            let hint = "see the settings `database`, and whether its server runs";
            checks.push(check("database", State::Refused, cause.to_string(), Some(hint)));
        }
    }
    let entries = from.as_ref().map_or_else(Vec::new, |from| changelog::since(from.as_ref()));
    let shown = |version: &Version| Value::from(version.to_string());
    let further = [
        ("from", from.flatten().as_ref().map_or(Value::Null, shown)),
        ("to", shown(&changelog::this())),
        ("upgrading", entries.iter().map(as_json).collect()),
    ];
    let ending = report(&checks, &further, arguments.json);
    if !arguments.json {
        for Entry { version, upgrading } in &entries {
            say(format_args!("\nBefore you upgrade to {version}:\n\n{upgrading}"));
        }
    }
    Ok(ending)
}

/// Returns a size for people, such as `12.3 MiB`.
fn mebibytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) / (1 << 20);
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

fn as_json(Entry { version, upgrading }: &Entry) -> Value {
    json!({ "version": version, "text": upgrading })
}

fn check(name: &str, state: State, detail: String, hint: Option<&str>) -> Check {
    Check { name: name.to_owned(), state, detail, hint: hint.map(str::to_owned) }
}

/// The version that this node last started, or else that of the node that was seen last.
fn former_version(standing: &Standing, node: Option<NodeId>) -> Option<Version> {
    let node = node.map(|node| node.to_string());
    let this = standing.nodes.iter().find(|seen| Some(&seen.id) == node.as_ref());
    this.or(standing.nodes.first())?.version.parse().ok()
}

/// Checks the data directory and the key of sealed secrets.
fn data_directory(settings: &Settings, remains: &Remains) -> Vec<Check> {
    let path = settings.data.display();
    let mut checks = vec![match remains.node {
        Some(node) => {
            check("data directory", State::Ok, format!("{path}, of the node {node}"), None)
        }
        None => {
            let found = format!("{path}: no server has used it");
            let hint = "if a former server used another one, name it with --data or GREENROOM_DATA";
            check("data directory", State::Warn, found, Some(hint))
        }
    }];
    let is_used = remains.database.as_ref().is_ok_and(Option::is_some);
    if is_used && !remains.has_secret {
        let found = format!("{path}/secret does not exist, and the database does");
        let hint = "restore it from a backup: without it, sealed secrets must be set again";
        checks.push(check("secret", State::Warn, found, Some(hint)));
    }
    checks
}

/// Checks the migrations of the database, on a copy if there is one to try.
async fn database(settings: &Settings, standing: &Standing, is_tried: bool) -> Check {
    let size = mebibytes(standing.bytes);
    let kind = if standing.file.is_some() { "SQLite" } else { "PostgreSQL" };
    if let Some(migration) = standing.unknown.first() {
        let found = format!(
            "{kind}, {size}: a newer version has changed it, by migration {migration} and {} more",
            standing.unknown.len() - 1
        );
        let hint = "start that version, or restore a copy of the database from before";
        return check("database", State::Refused, found, Some(hint));
    }
    let applied = standing.applied.len();
    if standing.pending.is_empty() {
        let found = format!("{kind}, {size}: all {applied} migrations are applied");
        return check("database", State::Ok, found, None);
    }
    let found = format!(
        "{kind}, {size}: {} of {} migrations are to be applied, at the start",
        standing.pending.len(),
        applied + standing.pending.len(),
    );
    let hint = "back it up, with DATA/secret: a former version refuses the migrated database";
    let trial = match &standing.file {
        Some(file) if is_tried => try_on_a_copy(settings, file.clone(), &size).await,
        Some(_) => Ok("they were not tried".to_owned()),
        None => Ok("they are not tried on PostgreSQL".to_owned()),
    };
    match trial {
        Ok(tried) => check("database", State::Warn, format!("{found}; {tried}"), Some(hint)),
        Err(cause) => {
            let hint = "without room for a copy, use --no-trial; report a migration that fails";
            check("database", State::Refused, format!("{found}; on a copy: {cause:#}"), Some(hint))
        }
    }
}

async fn try_on_a_copy(settings: &Settings, file: PathBuf, size: &str) -> anyhow::Result<String> {
    note(format_args!("trying the migrations on a copy of {} ({size})", file.display()));
    let took = upgrade::try_migrations(settings, file).await?;
    Ok(format!("on a copy they took {:.2} s", took.as_secs_f64()))
}

/// Checks the versions of the nodes: the former one of this node, and the live others.
fn versions(standing: &Standing, this: Option<NodeId>, now: DateTime<Utc>) -> Vec<Check> {
    let this_version = changelog::this();
    let this = this.map(|node| node.to_string());
    let mut checks = Vec::new();
    let called = |seen: &NodeSeen| match seen.version.as_str() {
        "" => "0.1.0 or earlier".to_owned(),
        version => version.to_owned(),
    };
    for seen in &standing.nodes {
        let is_live = now - seen.seen_at < Node::AWAY_AFTER;
        let is_this = Some(&seen.id) == this.as_ref();
        let differs = seen.version != this_version.to_string();
        let former: Option<Version> = seen.version.parse().ok();
        if is_this {
            let state = if is_live { "runs" } else { "last ran" };
            let found =
                format!("this node {state} {}; the new one is {this_version}", called(seen));
            let is_newer = former.is_some_and(|former| former > this_version);
            let (verdict, hint) = if is_newer {
                (State::Warn, Some("an older program is not tested on the data of a newer one"))
            } else {
                (State::Ok, None)
            };
            checks.push(check("version", verdict, found, hint));
        } else if is_live && differs {
            let found = format!("the node {} ({}) runs {}", seen.id, seen.hostname, called(seen));
            let hint = "nodes on one database run the same version: stop all before the first new one starts";
            checks.push(check("other node", State::Warn, found, Some(hint)));
        }
    }
    checks
}

/// Checks the live sessions and runs of this node.
fn living(settings: &Settings, standing: &Standing, node: NodeId) -> Vec<Check> {
    let id = node.to_string();
    let own = |live: &&Live| live.node_id == id;
    let sessions = standing.sessions.iter().filter(own).count();
    let runs = standing.runs.iter().filter(own).count();
    let unreadable = upgrade::unreadable(settings, node, standing);
    let former = former_version(standing, Some(node));
    let is_too_old =
        sessions > 0 && former.is_some_and(|former| !changelog::this().adopts(&former));
    let mut checks = vec![if is_too_old {
        let found = format!("{sessions} are live, of a version whose sessions are not adopted");
        let hint = "close them first: greenroom drain --wait, then stop without --keep-sessions";
        check("sessions", State::Warn, found, Some(hint))
    } else if let Some((first, cause)) = unreadable.first() {
        let found =
            format!("{} of {sessions} cannot be adopted: {first}: {cause}", unreadable.len());
        check("sessions", State::Warn, found, Some("they end as `failed`; profiles are kept"))
    } else {
        check("sessions", State::Ok, format!("{sessions} are live, and can be adopted"), None)
    }];
    if runs > 0 {
        let hint =
            "wait for them: greenroom drain --wait; a restart fails them (supervisor_restarted)";
        checks.push(check("runs", State::Warn, format!("{runs} have not ended"), Some(hint)));
    }
    checks
}

//! The command `greenroom explain`: says why a session or a run is in its state.

use clap::Args;
use serde_json::Value;

use super::Ending;
use super::client::{OperatorServer, text_of};
use super::output::{Table, cell, say, say_json};
use crate::domain::ids::{RunId, SessionId};

const HELP: &str = "\
Examples:
  greenroom explain pbs_123
  greenroom explain wr_123 --json

With the operator key, the answer also has the numbers of processes and the ends of their logs, and the id
may be of any organization.";

#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    #[command(flatten)]
    operator: OperatorServer,
    /// The id of the session, `pbs_…`, or of the run, `wr_…`.
    #[arg(value_parser = path_of)]
    id: Path,
}

/// The path of an explanation.
#[derive(Debug, Clone)]
struct Path(String);

fn path_of(text: &str) -> Result<Path, String> {
    let (session, run) = (text.parse::<SessionId>(), text.parse::<RunId>());
    match (session, run) {
        (Ok(id), _) => Ok(Path(format!("/v1/browser_sessions/{id}/explain"))),
        (_, Ok(id)) => Ok(Path(format!("/v1/runs/{id}/explain"))),
        (Err(_), Err(_)) => {
            Err("expected the id of a session, `pbs_…`, or of a run, `wr_…`".to_owned())
        }
    }
}

/// Runs the command given by the flags.
pub(super) async fn explain(arguments: Arguments) -> anyhow::Result<Ending> {
    let Arguments { operator, id: Path(path) } = arguments;
    let explanation = operator.client()?.get(&path).await?;
    if operator.server.json {
        say_json(&explanation);
    } else {
        show(&explanation);
    }
    Ok(Ending::Done)
}

fn array<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn show(explanation: &Value) {
    say(text_of(explanation, "summary").unwrap_or_default());
    for detail in array(explanation, "details").iter().filter_map(Value::as_str) {
        say(format_args!("  {detail}"));
    }
    if let Some(error) = explanation.get("last_error").filter(|error| !error.is_null()) {
        say(format_args!("\nlast error ({}, at {}):", cell(error, "code"), cell(error, "at")));
        for cause in array(error, "chain").iter().filter_map(Value::as_str) {
            say(format_args!("  {cause}"));
        }
        if let Some(hint) = text_of(error, "hint") {
            say(format_args!("  hint: {hint}"));
        }
    }
    programs(explanation);
    let messages = array(explanation, "messages");
    if !messages.is_empty() {
        say("");
        let mut table = Table::new(&["MESSAGE", "OUTCOME", "SENT", "HANDLED IN µs"]);
        for message in messages {
            let names = ["kind", "outcome", "enqueued_at", "handling_us"];
            table.row(names.map(|name| cell(message, name)));
        }
        table.print();
    }
    if let Some(session) = explanation.get("browser_session").filter(|session| !session.is_null()) {
        say(format_args!("\nits session {}:", cell(session, "id")));
        show(session);
    }
}

fn programs(explanation: &Value) {
    let programs = array(explanation, "programs");
    if programs.is_empty() {
        return;
    }
    say("");
    let mut table = Table::new(&["PROGRAM", "PID", "STATE", "CPU s", "MEMORY MiB", "PROCESSES"]);
    for program in programs {
        let memory = program.get("memory_bytes").and_then(Value::as_u64).unwrap_or_default();
        let role = text_of(program, "role").map(|role| format!(" ({role})")).unwrap_or_default();
        table.row([
            format!("{}{role}", cell(program, "name")),
            cell(program, "pid"),
            cell(program, "state"),
            cell(program, "cpu_seconds"),
            (memory / (1024 * 1024)).to_string(),
            cell(program, "processes"),
        ]);
    }
    table.print();
    for program in programs {
        let lines = array(program, "log_tail");
        if !lines.is_empty() {
            say(format_args!("\nthe log of {} ends with:", cell(program, "name")));
        }
        for line in lines.iter().filter_map(Value::as_str) {
            say(format_args!("  {line}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_another_kind_is_wrong_usage() {
        let path = |text: &str| path_of(text).map(|Path(path)| path).ok();
        assert_eq!(path("pbs_1").as_deref(), Some("/v1/browser_sessions/pbs_1/explain"));
        assert_eq!(path("wr_1").as_deref(), Some("/v1/runs/wr_1/explain"));
        assert_eq!(path("bp_1"), None);
    }
}

//! The command `greenroom run`: starts a workflow on a server and follows it to its end.

pub(super) mod progress;
mod screen;

use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::Ending;
use super::client::{Client, RequestError, Server, text_of};
use super::output::{note, say_json};
use crate::domain::ids::{SessionId, WorkflowPermanentId};
use crate::domain::run::RunStatus;
use progress::Progress;
use screen::Screen;

/// The delay between two polls of a run.
const BETWEEN_LOOKS: Duration = Duration::from_millis(300);

/// The longest outage of the server before the command stops following the run.
const LONGEST_SILENCE: Duration = Duration::from_secs(30);

const EXAMPLES: &str = "\
Examples:
  greenroom run flow.yaml
  greenroom run flow.json --param city=Bonn --param pages=3 --session pbs_123
  greenroom run wpid_123 --json | jq .run.output
  cat flow.yaml | greenroom run -

Ctrl-C cancels the run. Exit codes: 0 completed; 1 did not complete; 130 interrupted.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(flatten)]
    server: Server,
    /// A workflow's definition in YAML or JSON, `-` for standard input, or the id of a stored
    /// workflow (`wpid_…`).
    #[arg(value_name = "FILE")]
    workflow: PathBuf,
    /// The value of a parameter, as JSON or otherwise as text. May be repeated.
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parameter)]
    parameters: Vec<(String, Value)>,
    /// The session to run in; by default the run creates one.
    #[arg(long, value_name = "ID")]
    session: Option<SessionId>,
    /// The title of the run.
    #[arg(long)]
    title: Option<String>,
    /// Print a link that opens the live view without a key, for a limited time.
    #[arg(long)]
    watch: bool,
    /// Start the run and do not follow it.
    #[arg(long)]
    detach: bool,
}

/// Parses `name=value`. A value that is valid JSON is read as JSON, so that numbers, lists and
/// objects can be given.
fn parameter(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text
        .split_once('=')
        .filter(|(name, _)| !name.trim().is_empty())
        .ok_or_else(|| format!("expected NAME=VALUE, not `{text}`"))?;
    let value = serde_json::from_str(value).unwrap_or_else(|_no_json| value.into());
    Ok((name.trim().to_owned(), value))
}

/// Starts the run and follows it to its end.
pub(super) async fn run(arguments: Arguments) -> anyhow::Result<Ending> {
    let interrupted = interruptions()?;
    let client = Client::new(&arguments.server)?;
    let (workflow, blocks) = stored_workflow(&client, &arguments.workflow).await?;

    let parameters: Map<String, Value> = arguments.parameters.into_iter().collect();
    let mut request = json!({"workflow_id": workflow, "parameters": parameters});
    if let Some(members) = request.as_object_mut() {
        if let Some(session) = arguments.session {
            members.insert("browser_session_id".to_owned(), session.to_string().into());
        }
        if let Some(title) = arguments.title {
            members.insert("title".to_owned(), title.into());
        }
    }
    let run = client.post("/v1/run/workflows", &request).await?;
    let id = text_of(&run, "run_id").context("the server gave the run no id")?.to_owned();

    let as_json = arguments.server.json;
    if arguments.detach {
        if as_json {
            say_json(&json!({"run": run}));
        } else {
            super::output::say(format_args!("{id}\nfollow it with `greenroom runs show {id}`"));
        }
        return Ok(Ending::Done);
    }
    let screen = Screen::new(as_json, &id, blocks);
    let follower = Follower { client, id, screen, watch: arguments.watch };
    follower.follow(interrupted, as_json).await
}

/// Returns the permanent id of a workflow and the number of its outermost blocks, if the server
/// reports it. A workflow from a file is stored first.
async fn stored_workflow(client: &Client, file: &Path) -> anyhow::Result<(String, Option<u64>)> {
    let named = file.to_str().and_then(|name| name.parse::<WorkflowPermanentId>().ok());
    let workflow = match named {
        Some(id) => client.get(&format!("/v1/workflows/{id}")).await?,
        None => {
            let body = definition(file)?;
            let stored = client.post("/v1/workflows", &body).await;
            stored.with_context(|| format!("{} was not accepted", file.display()))?
        }
    };
    let id = text_of(&workflow, "workflow_permanent_id")
        .context("the server gave the workflow no id")?
        .to_owned();
    let blocks = workflow.pointer("/workflow_definition/blocks").and_then(Value::as_array);
    let blocks = blocks.and_then(|blocks| u64::try_from(blocks.len()).ok());
    Ok((id, blocks))
}

/// Returns the request body that stores the workflow of a file: JSON unchanged, anything else as
/// YAML, which the server parses.
fn definition(file: &Path) -> anyhow::Result<Value> {
    let read = if file == Path::new("-") {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(file)
    };
    let text = read.with_context(|| format!("cannot read the workflow in {}", file.display()))?;
    body_of(&text).with_context(|| format!("{} is not JSON", file.display()))
}

fn body_of(text: &str) -> anyhow::Result<Value> {
    if text.trim().is_empty() {
        bail!("it is empty");
    }
    if text.trim_start().starts_with('{') {
        let definition: Value = serde_json::from_str(text)?;
        // A body that was written for the API itself is sent unchanged.
        let is_body =
            ["json_definition", "yaml_definition"].iter().any(|it| definition.get(it).is_some());
        return Ok(if is_body { definition } else { json!({"json_definition": definition}) });
    }
    Ok(json!({"yaml_definition": text}))
}

/// Counts interrupt and termination signals. The second one ends the program at once.
pub(super) fn interruptions() -> anyhow::Result<watch::Receiver<u32>> {
    let (count, interrupted) = watch::channel(0_u32);
    ctrlc::set_handler(move || {
        if *count.borrow() > 0 {
            process::exit(130);
        }
        count.send_modify(|count| *count += 1);
    })
    .context("interruptions cannot be handled")?;
    Ok(interrupted)
}

/// Follows one run to its end.
struct Follower {
    client: Client,
    id: String,
    screen: Screen,
    watch: bool,
}

impl Follower {
    async fn follow(
        self,
        mut interrupted: watch::Receiver<u32>,
        as_json: bool,
    ) -> anyhow::Result<Ending> {
        let mut progress = Progress::default();
        let mut shown_session = None;
        let mut last_heard = Instant::now();
        let run = loop {
            match self.poll().await {
                Ok((run, timeline)) => {
                    last_heard = Instant::now();
                    if let Some(session) = text_of(&run, "browser_session_id")
                        && shown_session.as_deref() != Some(session)
                    {
                        self.screen.session(session, &self.view_link(session).await);
                        shown_session = Some(session.to_owned());
                    }
                    let news = progress.news(&timeline);
                    self.screen.news(&news, progress.ended());
                    let status = text_of(&run, "status").unwrap_or_default();
                    self.screen.status(status, &run);
                    if status.parse().is_ok_and(RunStatus::is_final) {
                        break json!({"run": run, "timeline": timeline});
                    }
                }
                Err(cause) if cause.is_passing() && last_heard.elapsed() < LONGEST_SILENCE => {
                    self.screen.silence(&cause.to_string());
                }
                Err(cause) => {
                    let id = &self.id;
                    return Err(anyhow::Error::new(cause).context(format!(
                        "{id} is no longer followed and may still run; see `greenroom runs show {id}`"
                    )));
                }
            }
            tokio::select! {
                () = sleep(BETWEEN_LOOKS) => (),
                _ = interrupted.changed() => return self.cancel().await,
            }
        };

        let status = run.pointer("/run/status").and_then(Value::as_str).unwrap_or_default();
        let completed = status.parse() == Ok(RunStatus::Completed);
        if as_json {
            say_json(&run);
        } else {
            self.screen.end(run.get("run").unwrap_or(&Value::Null));
        }
        Ok(if completed { Ending::Done } else { Ending::Failed })
    }

    async fn poll(&self) -> Result<(Value, Value), RequestError> {
        let run = self.client.get(&format!("/v1/runs/{}", self.id)).await?;
        let timeline = self.client.get(&format!("/v1/runs/{}/timeline", self.id)).await?;
        Ok((run, timeline))
    }

    async fn cancel(&self) -> anyhow::Result<Ending> {
        self.screen.clear();
        note(format_args!(
            "interrupted; canceling {} (interrupt again to leave it running)",
            self.id
        ));
        let path = format!("/v1/runs/{}/cancel", self.id);
        self.client.post(&path, &json!({})).await.with_context(|| {
            format!("the run continues; try `greenroom runs cancel {}`", self.id)
        })?;
        Ok(Ending::Interrupted)
    }

    /// Returns the address of the live view. It includes a ticket if that was requested and the
    /// server grants one.
    async fn view_link(&self, session: &str) -> String {
        let plain = self.client.link(&format!("/view/{session}"));
        if !self.watch {
            return plain;
        }
        let path = format!("/v1/browser_sessions/{session}/viewers");
        match self.client.post(&path, &json!({"role": "watch", "label": "greenroom run"})).await {
            Ok(viewer) => ["link", "url"]
                .iter()
                .find_map(|name| text_of(&viewer, name))
                .map_or(plain, str::to_owned),
            Err(cause) => {
                if !cause.is_not_found() {
                    note(format_args!("no ticket for the live view: {cause}"));
                }
                plain
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_json_or_else_a_text() {
        assert_eq!(parameter("n=3"), Ok(("n".into(), json!(3))));
        assert_eq!(parameter("l=[1,2]"), Ok(("l".into(), json!([1, 2]))));
        assert_eq!(parameter("city=Bonn = 1"), Ok(("city".into(), json!("Bonn = 1"))));
        assert!(parameter("city").unwrap_err().contains("NAME=VALUE"));
        assert!(parameter("=x").is_err());
    }

    #[test]
    fn a_file_is_json_or_else_yaml_or_already_a_body() {
        assert_eq!(
            body_of(r#"{"title": "x"}"#).unwrap(),
            json!({"json_definition": {"title": "x"}})
        );
        assert_eq!(body_of("title: x\n").unwrap(), json!({"yaml_definition": "title: x\n"}));
        let body = r#"{"yaml_definition": "title: x"}"#;
        assert_eq!(body_of(body).unwrap(), json!({"yaml_definition": "title: x"}));
        assert!(body_of("{\"title\": ").unwrap_err().to_string().contains("line 1"));
        assert!(body_of(" \n").is_err());
    }
}

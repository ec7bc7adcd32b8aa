//! Tools for stored workflows, and for recordings.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::time::timeout_at;

use actix_web::web::Data;

use super::super::answer::{Answer, inline};
use super::super::call::Call;
use super::super::entry::{Entry, Set};
use super::super::params::handle;
use crate::domain::ids::{ArtifactId, RunId};
use crate::http::body::{Body, PathId, Query, parse};
use crate::http::changes::After;
use crate::http::error::ApiError;
use crate::http::problem::Problem;
use crate::http::runs::{show, start};
use crate::http::sessions::recordings;
use crate::http::validation::Fields;
use crate::service::resources::run::RunResource;

/// The most characters of a run's output in an answer.
const MOST_OUTPUT: usize = 10_000;

pub fn entries() -> Vec<Entry> {
    vec![
        Entry::new(
            "workflow_run",
            Set::More,
            "Run a stored workflow in a browser of its own, or in a session that you do not hold, and wait for its \
             end. Answers `pending` and a run id if it takes longer: call again with `run`.",
            workflow_run,
        )
        .changes(),
        Entry::new(
            "record",
            Set::More,
            "Record the browser as a video: start, stop (answers a link to the file), or list.",
            record,
        )
        .changes(),
    ]
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RunParams {
    /// The id of the workflow, `wpid_…`.
    workflow: Option<String>,
    /// The values of the workflow's parameters.
    #[serde(default)]
    parameters: Map<String, Value>,
    /// The session to run in, `pbs_…`.
    session: Option<String>,
    /// The id of a run that was begun before, `wr_…`, to wait for its end.
    run: Option<String>,
}

async fn workflow_run(call: Call, params: RunParams) -> Result<Answer, ApiError> {
    let caller = call.whole()?;
    let mut fields = Fields::new();
    let one = params.workflow.is_some() != params.run.is_some();
    fields.require(
        "workflow",
        params.workflow.as_deref(),
        one,
        "expected either `workflow` or `run`",
    );
    fields.finish()?;
    let run: RunId = match &params.run {
        Some(text) => text.trim().parse().map_err(|_odd| Problem::unknown::<RunId>(text))?,
        None => {
            let mut asked =
                json!({ "workflow_id": params.workflow, "parameters": params.parameters });
            if let (Some(session), Some(asked)) = (&params.session, asked.as_object_mut()) {
                asked.insert("browser_session_id".to_owned(), session.as_str().into());
            }
            let request: start::Request = parse(asked.to_string().as_bytes())?;
            let begun = start::begin_latest(call.front(), caller, &request, asked, None).await?;
            let id = begun.run_id;
            id.parse().map_err(|_odd| Problem::unknown::<RunId>(&id))?
        }
    };
    if let Some(mut view) = call.front().world.views.run(caller.organization, run) {
        let ends = view.wait_for(|view| view.record.status.is_final());
        let _late_or_ended = timeout_at(call.deadline, ends).await;
    }
    let after = Query(After { after: None });
    let shown = show::show(caller, PathId(run), after, Data::clone(&call.client.front)).await?;
    Ok(answered(&shown.0))
}

fn answered(run: &RunResource) -> Answer {
    let is_over = run.finished_at.is_some();
    let state = if is_over { run.status } else { "pending" };
    let mut answer = Answer::text(format!("{state}: run {}", run.run_id));
    if !is_over {
        answer.line(format!(
            "It is {}. Call `workflow_run` with run `{}` again.",
            run.status, run.run_id
        ));
    }
    if let Some(reason) = &run.failure_reason {
        answer.line(format!("reason: {}", inline(reason, 1000)));
    }
    if let Some(output) = run.output.as_ref().filter(|_output| is_over) {
        let text = output.to_string();
        let cut: String = text.chars().take(MOST_OUTPUT).collect();
        answer.page_text("output", &cut);
        if cut.len() < text.len() {
            answer.line(format!("The output is longer: read run {} over the API.", run.run_id));
        }
    }
    answer.with("status", run.status).with("run", run.run_id.as_str()).with("over", is_over)
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RecordParams {
    /// The handle of the browser.
    browser: String,
    /// `start`, `stop` or `list`.
    action: String,
    /// The id of the recording to stop, `a_…`; the latest one that runs if left out.
    recording: Option<String>,
}

async fn record(call: Call, params: RecordParams) -> Result<Answer, ApiError> {
    let mut fields = Fields::new();
    let action = params.action.as_str();
    let known = ["start", "stop", "list"].contains(&action);
    fields.require("action", action, known, "expected `start`, `stop` or `list`");
    fields.finish()?;
    let handle = handle(&params.browser)?;
    let caller = call.keyholder(handle.session)?;
    let occupancy = call.occupancy(&handle).await?;
    call.renew(&occupancy).await?;
    let front = || Data::clone(&call.client.front);
    let session = PathId(handle.session);
    match action {
        "start" => {
            let options = Body(parse(b"{}")?);
            let started = recordings::start(caller, session, options, front()).await?.0;
            let id = started.recording_id;
            Ok(Answer::text(format!("Recording {id}. Stop it with action `stop`."))
                .with("recording", id))
        }
        "stop" => {
            let latest = occupancy.view.borrow().recordings.last().map(|it| it.id);
            let id = match &params.recording {
                Some(text) => {
                    text.trim().parse().map_err(|_odd| Problem::unknown::<ArtifactId>(text))?
                }
                None => latest.ok_or_else(|| {
                    let detail = "nothing is being recorded: list the recordings, or start one";
                    Problem::new(actix_web::http::StatusCode::CONFLICT, "not_recording", detail)
                })?,
            };
            let stopped = recordings::stop(caller, PathId((handle.session, id)), front());
            let stopped = timeout_at(call.deadline, stopped).await;
            let Ok(stopped) = stopped else {
                let text =
                    format!("pending: the file of {id} is not complete yet; list the recordings.");
                return Ok(Answer::text(text)
                    .with("status", "pending")
                    .with("recording", id.to_string()));
            };
            Ok(listed(&[stopped?.0]))
        }
        _ => Ok(listed(&recordings::list(caller, session, front()).await?.0)),
    }
}

fn listed(recordings: &[recordings::RecordingResource]) -> Answer {
    let mut answer = Answer::text(match recordings.len() {
        0 => "No recordings.".to_owned(),
        1 => "1 recording".to_owned(),
        count => format!("{count} recordings"),
    });
    for recording in recordings {
        let link = recording.file.as_ref().map(|file| file.url.as_str()).unwrap_or_default();
        answer.line(format!("- {} {} {link}", recording.recording_id, recording.status));
    }
    answer
}

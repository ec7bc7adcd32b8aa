//! `POST /v1/run/workflows`: starts a run. The response does not wait for the end of the run.

use std::time::Duration;

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;
use utoipa::ToSchema;

use crate::actors::lanes::Lane;
use crate::actors::profiles;
use crate::actors::registry::{NewRun, RouteError, RunAccepted, StartRun};
use crate::actors::run::{Assignment, Facts, Planned};
use crate::actors::session::SessionError;
use crate::db;
use crate::domain::egress::EgressLists;
use crate::domain::film::Asked;
use crate::domain::ids::{DebugSessionId, OrganizationId, RunId, SessionId, WorkflowPermanentId};
use crate::domain::profile::ProfileUse;
use crate::domain::run::WorkflowRecord;
use crate::domain::session::SessionSpec;
use crate::domain::workflow_settings::{
    egress_of, own_session_lifetime, profile_id, run_limit, sanitizes, webhook_url,
};
use crate::http::body::{RawBody, beside, parse};
use crate::http::caller::Caller;
use crate::http::egress::EgressRequest;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::idempotency::{Named, Once};
use crate::http::problem::Problem;
use crate::http::validation::Fields;
use crate::http::warnings::Warnings;
use crate::http::{headers, proxy, sessions, workflows};
use crate::service::debug_sessions;
use crate::service::error::ServiceError;
use crate::service::resources::links::Links;
use crate::service::resources::run::RunResource;
use crate::workflow::definition::Definition;
use crate::workflow::engine::Records;
use crate::workflow::parameters::{ParameterError, resolve};
use crate::workflow::template::{Names, Renderer};

/// The longest time that a run may wait for its session, in seconds.
const LONGEST_WAIT_SECONDS: u64 = 24 * 60 * 60;

/// The request to start a run. The first fields are those of the compatible API; the last are
/// Greenroom's own.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[schema(as = RunRequest)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// The id of the workflow, `wpid_…`.
    pub workflow_id: Option<String>,
    /// The same as `workflow_id`.
    pub agent_id: Option<String>,
    /// The values of the workflow's parameters.
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<Map<String, Value>>,
    /// A title for people.
    pub title: Option<String>,
    /// `{"url": "http://proxy:3128"}` for the session that the run creates. The name of a location
    /// has no effect.
    pub proxy_location: Value,
    /// The targets that the session created by the run may reach, and its upstream proxy: `{allow,
    /// deny, upstream}`, in place of the workflow's own.
    #[schema(value_type = Option<Object>)]
    pub egress: Option<EgressRequest>,
    /// The URL to which the end of the run is reported.
    pub webhook_url: Option<String>,
    /// Accepted for compatibility; has no effect.
    pub totp_url: Option<String>,
    /// Accepted for compatibility; has no effect.
    pub totp_identifier: Option<String>,
    /// The session to drive. Without it the run creates a session, and closes it at the end.
    pub browser_session_id: Option<String>,
    /// Has no effect: name the session in `browser_session_id`.
    pub reuse_browser_session: Option<bool>,
    /// The profile from which the session starts that the run creates, in place of the workflow's own.
    /// It is stored as a new version when the run has ended.
    pub browser_profile_id: Option<String>,
    /// True if the run must create its own session.
    pub start_fresh_browser: bool,
    /// Accepted for compatibility; has no effect.
    pub max_screenshot_scrolls: Option<i64>,
    /// The time limit of the run in minutes, 1 to 480.
    pub max_elapsed_time_minutes: Option<u64>,
    /// Extra headers that the run's pages send with every request.
    pub extra_http_headers: Value,
    /// Accepted for compatibility; has no effect.
    pub cdp_connect_headers: Value,
    /// The address of a session's DevTools on this server, in place of `browser_session_id`.
    pub browser_address: Option<String>,
    /// Accepted for compatibility; has no effect.
    pub ai_fallback: Option<bool>,
    /// `agent` or `code`; has no effect.
    pub run_with: Option<String>,
    /// Up to 20 labels chosen by the client.
    #[schema(value_type = Option<Object>)]
    pub run_metadata: Option<Map<String, Value>>,
    /// The labels of the only blocks to run, in this order.
    pub block_labels: Option<Vec<String>>,
    /// Outputs of blocks that do not run, by label.
    #[schema(value_type = Option<Object>)]
    pub block_outputs: Option<Map<String, Value>>,
    /// Accepted for compatibility; has no effect.
    pub code_gen: Option<bool>,
    /// The debug session whose browser session is driven.
    pub debug_session_id: Option<String>,
    /// The time in seconds to wait for the session if it is occupied.
    pub wait_seconds: Option<u64>,
    /// `true`, or the parameters of a recording of the run: `{frame_rate, width, format}`.
    #[schema(value_type = Option<Object>)]
    pub record: Option<Asked>,
    /// True to keep requests and responses as the artifact `har`.
    pub record_har: bool,
    /// True to keep the console output of pages as the artifact `browser_console_log`.
    pub record_console_log: bool,
}

impl Request {
    fn check(&self) -> Result<(), Problem> {
        let mut fields = Fields::new();
        if self.workflow_id.is_none() && self.agent_id.is_none() {
            fields.missing("workflow_id");
        }
        let minutes = self.max_elapsed_time_minutes;
        let within = minutes.is_none_or(|minutes| (1..=480).contains(&minutes));
        fields.require("max_elapsed_time_minutes", minutes, within, "expected 1 to 480");
        let within = self.wait_seconds.is_none_or(|wait| wait <= LONGEST_WAIT_SECONDS);
        fields.require("wait_seconds", self.wait_seconds, within, "expected at most 86400");
        if let Some(text) = &self.webhook_url {
            let url = Url::parse(text.trim()).ok();
            let fits = url.is_some_and(|it| matches!(it.scheme(), "http" | "https"));
            fields.require("webhook_url", text.as_str(), fits, "expected an http or https URL");
        }
        if let Some(address) = &self.browser_address {
            let named = session_in(address);
            let wrong = "browsers of other servers cannot be driven; create a session \
                         and give `browser_session_id`";
            fields.require("browser_address", Value::Null, named.is_some(), wrong);
            let differs = named.zip(self.browser_session_id.as_deref());
            let differs = differs.is_some_and(|(named, given)| named != given);
            let wrong = "it names another session than `browser_session_id`";
            fields.require("browser_address", Value::Null, !differs, wrong);
        }
        let proxy = proxy::proxy(&self.proxy_location, "proxy_location", &mut fields);
        EgressRequest::read(self.egress.as_ref(), proxy, &mut fields);
        headers::check(&self.extra_http_headers, "extra_http_headers", &mut fields);
        let fresh = self.start_fresh_browser;
        let contradicts = fresh && (self.session().is_some() || self.has_profile());
        let wrong = "a fresh browser has neither a session nor a profile";
        fields.require("start_fresh_browser", fresh, !contradicts, wrong);
        let labels = self.run_metadata.iter().flatten();
        let fits = self.run_metadata.as_ref().is_none_or(|labels| labels.len() <= 20)
            && labels.into_iter().all(|(key, value)| {
                let value = value.as_str();
                key.chars().count() <= 64 && value.is_some_and(|it| it.chars().count() <= 256)
            });
        let wrong = "expected at most 20 texts of up to 256 characters under keys of up to 64";
        fields.require("run_metadata", Value::Null, fits, wrong);
        fields.finish()?;
        Ok(())
    }

    /// Returns the session that the request names by its id or by its address.
    fn session(&self) -> Option<String> {
        let named = self.browser_address.as_deref().and_then(session_in);
        self.browser_session_id.clone().or_else(|| named.map(str::to_owned))
    }

    /// Returns a warning about the fields without effect.
    fn warning(&self, has_session: bool) -> Option<String> {
        let mut warnings = Warnings::default();
        if has_session && !self.proxy_location.is_null() && self.proxy_location != "NONE" {
            let why = "the proxy of a session is set when it is created";
            warnings.no_effect("proxy_location", true, why);
        } else {
            warnings.add(proxy::warning(&self.proxy_location));
        }
        let why = "a session starts from its profile, and this one has started";
        warnings.no_effect("browser_profile_id", has_session && self.has_profile(), why);
        let why = "it is set when the session is created, see PATCH /v1/browser_sessions/{id}";
        warnings.no_effect("egress", has_session && self.egress.is_some(), why);
        let is_some = |value: &Option<String>| value.as_ref().is_some_and(|it| !it.is_empty());
        let codes = "no codes are fetched; a person can type one";
        let code = "no code is generated";
        for (field, given, why) in [
            ("reuse_browser_session", self.reuse_browser_session == Some(true), "name the session"),
            ("totp_url", is_some(&self.totp_url), codes),
            ("totp_identifier", is_some(&self.totp_identifier), codes),
            (
                "max_screenshot_scrolls",
                self.max_screenshot_scrolls.is_some(),
                "the agent takes its pictures itself",
            ),
            (
                "cdp_connect_headers",
                self.cdp_connect_headers.as_object().is_some_and(|it| !it.is_empty()),
                "runs drive this server's own browsers",
            ),
            ("ai_fallback", self.ai_fallback == Some(false), "no block falls back to a model"),
            (
                "run_with",
                self.run_with.as_deref().is_some_and(|with| !matches!(with, "" | "agent" | "ai")),
                "blocks are executed as they are written",
            ),
            ("code_gen", self.code_gen == Some(true), code),
        ] {
            warnings.no_effect(field, given, why);
        }
        warnings.finish()
    }

    fn has_profile(&self) -> bool {
        self.browser_profile_id.is_some()
    }

    fn workflow(&self) -> Result<WorkflowPermanentId, Problem> {
        let text = self.workflow_id.as_ref().or(self.agent_id.as_ref());
        let text = text.map(String::as_str).unwrap_or_default();
        text.parse().map_err(|_not_an_id| Problem::unknown::<WorkflowPermanentId>(text))
    }

    /// Returns the time limit of the run: from the request, the workflow or the server's settings, in
    /// this order.
    fn limit(&self, workflow: &WorkflowRecord, front: &Front) -> Duration {
        let usual = Duration::from_secs(front.world.settings.run_limit_seconds);
        run_limit(self.max_elapsed_time_minutes, &workflow.settings, usual)
    }

    /// Returns the labels of the blocks to run, if the request restricts them.
    fn only(&self, definition: &Definition) -> Result<Option<Vec<String>>, Problem> {
        let Some(labels) = &self.block_labels else { return Ok(None) };
        let mut fields = Fields::new();
        fields.require("block_labels", Value::Null, !labels.is_empty(), "expected a label");
        for (index, label) in labels.iter().enumerate() {
            let known = definition.blocks.iter().any(|block| block.label == *label);
            let wrong = format!("the workflow has no block `{label}` outside of its loops");
            fields.require(&format!("block_labels[{index}]"), label.as_str(), known, wrong);
        }
        fields.finish()?;
        Ok(Some(labels.clone()))
    }

    /// Returns the specification of the session that the run creates for itself.
    fn own_session(
        &self,
        workflow: &WorkflowRecord,
        limit: Duration,
    ) -> Result<SessionSpec, Problem> {
        let usual = workflow.settings.get("proxy_location").unwrap_or(&Value::Null);
        // The name of a location has no effect, so it does not replace the workflow's own proxy.
        let is_named = self.proxy_location.is_object() || self.proxy_location == "NONE";
        let location = if is_named { &self.proxy_location } else { usual };
        let mut fields = Fields::new();
        let mut proxy = proxy::proxy(location, "proxy_location", &mut fields);
        let egress: EgressLists;
        if self.egress.is_some() {
            (egress, proxy) = EgressRequest::read(self.egress.as_ref(), proxy, &mut fields);
        } else {
            let (lists, upstream) = egress_of(&workflow.settings);
            egress = lists;
            proxy = proxy.or(upstream.filter(|_upstream| !is_named));
        }
        fields.finish()?;
        Ok(SessionSpec {
            lifetime: own_session_lifetime(limit),
            proxy,
            egress,
            echo: serde_json::json!({ "proxy_location": location }),
            ..SessionSpec::default()
        })
    }
}

/// Returns the session in the URL of a DevTools endpoint of a Greenroom server.
fn session_in(address: &str) -> Option<&str> {
    let path = address.split(['?', '#']).next().unwrap_or_default();
    let is_address =
        ["ws://", "wss://", "http://", "https://"].iter().any(|it| path.starts_with(it));
    let (_, rest) = path.split_once("/v1/browser_sessions/").filter(|_parts| is_address)?;
    let (id, end) = rest.split_once('/')?;
    (end.trim_end_matches('/') == "cdp" && id.parse::<SessionId>().is_ok()).then_some(id)
}

/// Returns the lane of a run whose workflow is `run_sequentially`: one lane for all runs, or one for
/// each value of `sequential_key`, which may be a template.
fn lane(front: &Front, workflow: &WorkflowRecord, parameters: &Map<String, Value>) -> Option<Lane> {
    workflow.settings.get("run_sequentially").filter(|wanted| **wanted == true)?;
    let key = workflow.settings.get("sequential_key").and_then(Value::as_str);
    let name = match key.filter(|key| !key.is_empty()) {
        Some(key) => {
            let rendered =
                Renderer::new(false).text("sequential_key", key, &Names::new(parameters));
            format!("key {}", rendered.unwrap_or_else(|_not_a_template| key.to_owned()))
        }
        None => workflow.permanent_id.to_string(),
    };
    Some(front.world.lanes.lane(workflow.organization, name))
}

/// Creates a 400 problem that names every parameter that is missing or has a wrong type.
fn unfit(errors: &[ParameterError]) -> Problem {
    let missing = errors.iter().any(|error| matches!(error, ParameterError::Missing { .. }));
    let code = if missing { "missing_value_for_parameter" } else { "parameter_invalid" };
    let said: Vec<_> = errors.iter().map(ToString::to_string).collect();
    let keys: Vec<_> = errors.iter().map(ParameterError::key).collect();
    Problem::new(actix_web::http::StatusCode::BAD_REQUEST, code, said.join("; "))
        .with("parameters", keys)
}

/// Returns the session to drive. Errors: 404 if it does not exist, 410 if it has ended.
async fn session(
    front: &Front,
    organization: OrganizationId,
    text: &str,
) -> Result<SessionId, ApiError> {
    let id = text.parse().map_err(|_not_an_id| Problem::unknown::<SessionId>(text))?;
    let view = sessions::find(front, organization, id).await?;
    if view.closing || view.record.status.is_final() {
        return Err(RouteError::Session(SessionError::Closing).into());
    }
    Ok(id)
}

/// Returns the profile of the session that a run creates for itself: that of the request, else that of
/// the workflow.
async fn profile(
    front: &Front,
    organization: OrganizationId,
    workflow: &WorkflowRecord,
    request: &Request,
) -> Result<Option<ProfileUse>, ApiError> {
    if let Some(text) = request.browser_profile_id.as_deref() {
        let profile = sessions::create::profile_of(front, organization, text).await?;
        return Ok(Some(ProfileUse::written(profile.id)));
    }
    if let Some(text) = profile_id(&workflow.settings) {
        sessions::create::profile_of(front, organization, text).await?; // It may have been removed.
    }
    Ok(profiles::of_workflow(&front.world, workflow).await.map_err(ServiceError::from)?)
}

/// Starts a run of this version of a workflow. `echo` is the request as it was given.
pub(super) async fn begin(
    front: &Front,
    caller: Caller,
    workflow: &WorkflowRecord,
    request: &Request,
    mut echo: Value,
    named: Option<Named<RunId>>,
) -> Result<RunResource, ApiError> {
    if let Some(made) = made_before(front, caller, named).await? {
        return Ok(made);
    }
    let Caller { organization, key, .. } = caller;
    front.world.quotas.check_run(&front.world.views, organization)?;
    request.check()?;
    let usual = webhook_url(&workflow.settings);
    if let (None, Some(url), Some(members)) = (&request.webhook_url, usual, echo.as_object_mut()) {
        members.insert("webhook_url".to_owned(), url.into());
    }
    let definition = workflows::definition_of(workflow)?;
    let only = request.only(&definition)?;
    let given = request.parameters.clone().unwrap_or_default();
    let parameters = resolve(&definition, &given).map_err(|errors| unfit(&errors))?;

    let debug_session = match &request.debug_session_id {
        None => None,
        Some(text) => {
            let unknown = || Problem::unknown::<DebugSessionId>(text);
            let id = text.parse().map_err(|_not_an_id| unknown())?;
            let found = db::debug_sessions::by_id(&front.db, organization, id).await?;
            let found = found.ok_or_else(unknown)?;
            debug_sessions::used(front, &found).await?; // If it has ended, its session reports that.
            Some(found)
        }
    };
    let behind = debug_session.as_ref().map(|session| session.session.to_string());
    let session = match request.session().as_ref().or(behind.as_ref()) {
        Some(text) => Some(session(front, organization, text).await?),
        None => None,
    };

    front.check_storage(organization).await?;
    if let Some(params) = request.record.and_then(Asked::options) {
        sessions::recordings::check(&params, "record", front)?;
    }
    let limit = request.limit(workflow, front);
    let wait = request.wait_seconds.unwrap_or(front.world.settings.run_wait_seconds);
    let records = Records {
        har: request.record_har,
        console: request.record_console_log,
        ..front.world.workflow.records()
    };
    let facts = Facts {
        records,
        session,
        only,
        outputs: request.block_outputs.clone().unwrap_or_default(),
        headers: request.extra_http_headers.clone(),
        limit,
        ..Facts::new(&front.world, parameters.clone())
    };
    let mut own_session = request.own_session(workflow, limit)?;
    if session.is_none() && !request.start_fresh_browser {
        own_session.profile = profile(front, organization, workflow, request).await?;
    }
    // A run that debugs a block does not wait for other runs.
    let lane = debug_session.is_none().then(|| lane(front, workflow, &parameters)).flatten();
    let assignment = Assignment {
        work: Box::new(Planned::new(facts.plan(workflow, definition))),
        own_session,
        record: request.record.and_then(Asked::options),
        // A run that debugs a block leaves the session unchanged for the next one.
        sanitize: debug_session.is_none() && sanitizes(&workflow.settings),
        wait: Duration::from_secs(wait),
        limit,
        depth: 0,
        lent: None,
        lane,
    };
    let run = NewRun {
        organization,
        workflow: workflow.id,
        workflow_permanent_id: workflow.permanent_id,
        session,
        debug_session: debug_session.map(|session| session.id),
        title: Some(request.title.clone().unwrap_or_else(|| workflow.title.clone())),
        parameters: Value::Object(parameters),
        request: echo,
        api_key: Some(key),
        id: named.map(|named| named.id),
    };
    let RunAccepted { view, .. } = front.registry.ask(StartRun { run, assignment }).await??;
    let view = view.borrow().clone();
    let warning = request.warning(session.is_some());
    Ok(RunResource { warning, ..RunResource::of(&view, &[], &Links { core: front, caller }) })
}

/// Starts a run of the latest version of the workflow that the request names.
pub(in crate::http) async fn begin_latest(
    front: &Front,
    caller: Caller,
    request: &Request,
    echo: Value,
    named: Option<Named<RunId>>,
) -> Result<RunResource, ApiError> {
    if let Some(made) = made_before(front, caller, named).await? {
        return Ok(made);
    }
    front.world.quotas.check_run(&front.world.views, caller.organization)?;
    request.check()?;
    let workflow = workflows::latest(front, caller.organization, request.workflow()?).await?;
    begin(front, caller, &workflow, request, echo, named).await
}

/// Returns the run that an earlier request with the same key started.
async fn made_before(
    front: &Front,
    caller: Caller,
    named: Option<Named<RunId>>,
) -> Result<Option<RunResource>, ApiError> {
    let organization = caller.organization;
    let Some(Named { id, .. }) = named.filter(|named| named.again) else { return Ok(None) };
    let Some(row) = db::runs::by_id(&front.db, organization, id).await? else { return Ok(None) };
    let is_here = row.node == front.world.node && !row.status.is_final();
    if is_here && front.world.views.run(organization, id).is_none() {
        return Ok(None); // Stored by a request without an answer, and never begun.
    }
    let view = super::find(front, organization, id).await?;
    Ok(Some(RunResource::of(&view, &[], &Links { core: front, caller })))
}

/// Reads a request, and as it was given.
async fn read(body: Vec<u8>) -> Result<(Request, Value), Problem> {
    beside(body, |body| Ok((parse(body)?, parse(body)?))).await
}

/// Starts a run. It is answered at once; `GET /v1/runs/{run_id}?after=` waits for its end.
#[utoipa::path(
    post,
    path = "/v1/run/workflows",
    tag = "Runs",
    params(("Idempotency-Key" = Option<String>, Header, description = "Requests with the same key start one run")),
    request_body = Request,
    responses(
        (status = 200, description = "The run", body = RunResource),
        (status = 400, description = "A parameter is missing or has the wrong type"),
        (status = 404, description = "There is no such workflow, or no such session"),
        (status = 409, description = "The key was used for another request, or for a request in progress"),
        (status = 410, description = "The session has ended"),
        (status = 422, description = "Fields are invalid; `detail` lists them"),
        (status = 429, description = "The limit of active runs is reached"),
    ),
)]
pub async fn start(
    caller: Caller,
    RawBody(body): RawBody,
    request: HttpRequest,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    let once = Once::of(caller, &request, "POST /v1/run/workflows", &body, &front)?;
    let (asked, echo) = read(body).await?;
    once.answer(async move |named| begin_latest(&front, caller, &asked, echo, named).await).await
}

/// A run of selected blocks.
#[derive(Debug, Serialize, ToSchema)]
pub struct BlockRunResource {
    #[serde(flatten)]
    pub run: RunResource,
    /// The labels of the blocks that run.
    pub block_labels: Vec<String>,
}

/// Starts a run of selected blocks of a workflow.
#[utoipa::path(
    post,
    path = "/v1/run/workflows/blocks",
    tag = "Runs",
    params(("Idempotency-Key" = Option<String>, Header, description = "Requests with the same key start one run")),
    request_body = Request,
    responses(
        (status = 200, description = "The run", body = BlockRunResource),
        (status = 400, description = "A parameter is missing or has the wrong type"),
        (status = 409, description = "The key was used for another request, or for a request in progress"),
        (status = 410, description = "The session has ended"),
        (status = 404, description = "There is no such workflow, or no such session"),
        (status = 422, description = "Fields are invalid; `detail` lists them"),
    ),
)]
pub async fn start_blocks(
    caller: Caller,
    RawBody(body): RawBody,
    request: HttpRequest,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    let once = Once::of(caller, &request, "POST /v1/run/workflows/blocks", &body, &front)?;
    let (asked, echo) = read(body).await?;
    let Some(block_labels) = asked.block_labels.clone() else {
        let mut fields = Fields::new();
        match echo.get("block_labels") {
            Some(given) => {
                fields.refuse("block_labels", given.clone(), "expected a list of labels");
            }
            None => fields.missing("block_labels"),
        }
        fields.finish()?;
        return Err(Problem::invalid(Vec::new()).into());
    };
    once.answer(async move |named| {
        let run = begin_latest(&front, caller, &asked, echo, named).await?;
        Ok(BlockRunResource { run, block_labels })
    })
    .await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn places(body: &Value) -> Vec<String> {
        let request: Request = parse(body.to_string().as_bytes()).unwrap();
        let Err(problem) = request.check() else { return Vec::new() };
        let detail = problem.body()["detail"].clone();
        let fields = detail.as_array().unwrap();
        fields.iter().map(|field| field["loc"][1].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn what_is_at_fault_is_named() {
        assert_eq!(
            places(&json!({"agent_id": "wpid_1", "webhook_url": " https://a.example/x "})),
            [""; 0]
        );
        assert_eq!(places(&json!({})), ["workflow_id"]);
        let body = json!({
            "workflow_id": "wpid_1", "max_elapsed_time_minutes": 481, "wait_seconds": 90_000,
            "webhook_url": "ftp://a", "browser_address": "http://127.0.0.1:9222",
            "start_fresh_browser": true, "browser_session_id": "pbs_1",
            "run_metadata": {"a": 1},
        });
        assert_eq!(
            places(&body),
            [
                "max_elapsed_time_minutes",
                "wait_seconds",
                "webhook_url",
                "browser_address",
                "start_fresh_browser",
                "run_metadata",
            ]
        );
    }

    #[test]
    fn an_address_of_this_server_names_its_session() {
        for (address, session) in [
            ("ws://127.0.0.1:8787/v1/browser_sessions/pbs_7/cdp?apikey=k", Some("pbs_7")),
            ("https://g.example/room/v1/browser_sessions/pbs_7/cdp/", Some("pbs_7")),
            (
                "wss://g.example/v1/browser_sessions/pbs_7/cdp?generation=1&lease_token=t",
                Some("pbs_7"),
            ),
            ("ws://127.0.0.1:9222/devtools/browser/abc", None),
            ("ws://g.example/v1/browser_sessions/7/cdp", None),
            ("ws://g.example/v1/browser_sessions/pbs_7/close", None),
            ("/v1/browser_sessions/pbs_7/cdp", None),
        ] {
            assert_eq!(session_in(address), session, "{address}");
        }
        let both = json!({
            "workflow_id": "wpid_1", "browser_session_id": "pbs_8",
            "browser_address": "ws://h/v1/browser_sessions/pbs_7/cdp",
        });
        assert_eq!(places(&both), ["browser_address"]);
    }

    #[test]
    fn an_unknown_field_is_refused_with_the_nearest_name() {
        let refused = parse::<Request>(br#"{"workflow_id": "wpid_1", "browser_sesion_id": "x"}"#);
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("did you mean `browser_session_id`?"), "{text}");
    }

    #[test]
    fn every_unfit_parameter_is_named() {
        let errors = [
            ParameterError::Missing { key: "city".to_owned() },
            ParameterError::Type { key: "pages".to_owned(), expected: "a whole number" },
        ];
        let body = unfit(&errors).body();
        assert_eq!(body["code"], "missing_value_for_parameter");
        assert_eq!(body["parameters"], json!(["city", "pages"]));
        let said = "missing value for parameter `city`; parameter `pages`: expected a whole number";
        assert_eq!(body["detail"], said);
    }
}

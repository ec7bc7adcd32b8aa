//! `POST /v1/workflows` and `POST /v1/workflows/{id}`: creates a workflow, or another version of one.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Json};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{refused, shown};
use crate::db::{self, DbError};
use crate::domain::ids::{WorkflowId, WorkflowPermanentId};
use crate::domain::labels::{Name, Tags};
use crate::domain::masking::{MASKED, unmask};
use crate::domain::run::WorkflowRecord;
use crate::domain::workflow_settings::name;
use crate::http::body::{PathId, Query, RawBody, beside, parse};
use crate::http::caller::Caller;
use crate::http::dialect::Dialect;
use crate::http::egress::EgressRequest;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::idempotency::{Named, Once};
use crate::http::problem::Problem;
use crate::http::validation::Fields;
use crate::http::{headers, proxy, warnings};
use crate::workflow::definition::Workflow;

/// The number of attempts to store another version when other writers take the version number.
const TRIES: usize = 5;

/// A workflow's definition, in one of two forms.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = WorkflowRequest)]
#[serde(default, deny_unknown_fields)]
pub struct Request {
    /// The workflow as JSON: `title`, `workflow_definition` and settings, among them `name`, unique among the
    /// organization's workflows, and `tags`.
    #[schema(value_type = Option<Object>)]
    json_definition: Option<Value>,
    /// The workflow as YAML. Labels that no template could name are rewritten.
    yaml_definition: Option<String>,
}

impl Request {
    fn read(self) -> Result<Workflow, Problem> {
        match (self.json_definition, self.yaml_definition) {
            (Some(json), _) => Workflow::from_json(&json)
                .map_err(|errors| refused(errors, Some("json_definition"))),
            (None, Some(yaml)) => Workflow::from_yaml(&yaml)
                .map_err(|errors| refused(errors, Some("yaml_definition"))),
            (None, None) => {
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                let detail = "a workflow must be provided in either yaml or json format: give \
                              `yaml_definition` or `json_definition`";
                Err(Problem::new(status, "definition_missing", detail))
            }
        }
    }
}

/// Reads a workflow from a whole body. JSON is valid YAML.
fn read_text(bytes: &[u8]) -> Result<Workflow, Problem> {
    let text = std::str::from_utf8(bytes).map_err(|cause| {
        let detail = format!("the body is not UTF-8: {cause}");
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", detail)
    })?;
    Workflow::from_yaml(text).map_err(|errors| refused(errors, None))
}

/// Creates a workflow from its definition.
#[utoipa::path(
    post,
    path = "/v1/workflows",
    tag = "Workflows",
    params(("Idempotency-Key" = Option<String>, Header, description = "Requests with the same key create one workflow")),
    request_body = Request,
    responses(
        (status = 200, description = "The workflow", body = Object),
        (status = 409, description = "The key was used for another request, or for a request in progress; or another workflow has the name"),
        (status = 422, description = "All errors of the definition, with block, field and line"),
    ),
)]
pub async fn create(
    caller: Caller,
    RawBody(body): RawBody,
    request: HttpRequest,
    dialect: Dialect,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    let once = Once::of(caller, &request, "POST /v1/workflows", &body, &front)?;
    let workflow = beside(body, |body| parse::<Request>(body)?.read()).await?;
    once.answer(async move |named| {
        Ok(dialect.show(insert_first(&front, caller, workflow, named).await?))
    })
    .await
}

/// Handles `POST /api/v1/workflows`, whose body is the definition.
pub async fn create_from_text(
    caller: Caller,
    RawBody(body): RawBody,
    request: HttpRequest,
    dialect: Dialect,
    front: Data<Front>,
) -> Result<HttpResponse, ApiError> {
    let once = Once::of(caller, &request, "POST /v1/workflows", &body, &front)?;
    let workflow = beside(body, read_text).await?;
    once.answer(async move |named| {
        Ok(dialect.show(insert_first(&front, caller, workflow, named).await?))
    })
    .await
}

/// Stores another version of a workflow.
#[utoipa::path(
    post,
    path = "/v1/workflows/{workflow_permanent_id}",
    tag = "Workflows",
    params(("workflow_permanent_id" = String, Path, description = "`wpid_…`")),
    request_body = Request,
    responses(
        (status = 200, description = "The workflow in its new version", body = Object),
        (status = 404, description = "There is no such workflow"),
        (status = 409, description = "Another workflow has the name, or other requests store versions at the same time"),
        (status = 422, description = "All errors of the definition, with block, field and line"),
    ),
)]
pub async fn update(
    caller: Caller,
    PathId(id): PathId<WorkflowPermanentId>,
    RawBody(body): RawBody,
    dialect: Dialect,
    front: Data<Front>,
) -> Result<Json<Value>, ApiError> {
    let workflow = beside(body, |body| parse::<Request>(body)?.read()).await?;
    let workflow = insert_next(&front, caller, id, workflow, None).await?;
    Ok(Json(dialect.show(workflow)))
}

/// The query of `PUT /api/v1/workflows/{id}`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Expected {
    /// The version that the client has edited.
    expected_version: Option<i32>,
}

/// Handles `PUT /api/v1/workflows/{id}`, whose body is the definition. A client that names the
/// version it has edited does not overwrite another version.
pub async fn update_from_text(
    caller: Caller,
    PathId(id): PathId<WorkflowPermanentId>,
    Query(Expected { expected_version }): Query<Expected>,
    RawBody(body): RawBody,
    dialect: Dialect,
    front: Data<Front>,
) -> Result<Json<Value>, ApiError> {
    let workflow = beside(body, read_text).await?;
    let workflow = insert_next(&front, caller, id, workflow, expected_version).await?;
    Ok(Json(dialect.show(workflow)))
}

/// Rejects settings that cannot have the requested effect.
fn check_settings(settings: &Value) -> Result<(), Problem> {
    let mut fields = Fields::new();
    let of = |name: &str| settings.get(name).unwrap_or(&Value::Null);
    let proxy = proxy::proxy(of("proxy_location"), "proxy_location", &mut fields);
    EgressRequest::check(of("egress"), proxy, &mut fields);
    headers::check(of("extra_http_headers"), "extra_http_headers", &mut fields);
    let sanitize = of("sanitize_on_finish");
    let fits = sanitize.is_null() || sanitize.is_boolean();
    fields.require("sanitize_on_finish", sanitize.clone(), fits, "expected true or false");
    let name = of("name");
    if !name.is_null() {
        let text = name.as_str().ok_or_else(|| "expected a text".to_owned());
        let parsed = text.and_then(|text| text.parse::<Name>().map_err(|cause| cause.to_string()));
        fields.check("name", name.clone(), parsed);
    }
    let tags = of("tags");
    if !tags.is_null() {
        let texts = tags.as_array().and_then(|tags| tags.iter().map(Value::as_str).collect());
        let texts: Result<Vec<&str>, String> = texts.ok_or_else(|| "expected texts".to_owned());
        let parsed = texts.and_then(|texts| Tags::new(texts).map_err(|cause| cause.to_string()));
        fields.check("tags", tags.clone(), parsed);
    }
    fields.finish()
}

/// Refuses the name in the settings of a workflow if another workflow than `own` has it.
async fn refuse_taken(
    front: &Front,
    caller: Caller,
    settings: &Value,
    own: Option<WorkflowPermanentId>,
) -> Result<(), ApiError> {
    let Some(name) = name(settings) else { return Ok(()) };
    let holder = db::workflows::named(&front.db, caller.organization, name).await?;
    let Some(other) = holder.filter(|holder| Some(*holder) != own) else { return Ok(()) };
    let detail = format!("workflow {other} has the name `{name}`: choose another name");
    let problem = Problem::new(StatusCode::CONFLICT, "name_taken", detail);
    Err(problem.with("workflow_permanent_id", other).into())
}

/// Adds a warning about the settings without effect to the response.
fn warned(mut answer: Value, settings: &Value) -> Value {
    if let (Some(members), Some(warning)) =
        (answer.as_object_mut(), warnings::of_settings(settings))
    {
        members.insert("warning".to_owned(), warning.into());
    }
    answer
}

fn record(
    front: &Front,
    caller: Caller,
    permanent_id: Option<WorkflowPermanentId>,
    version: i32,
    workflow: Workflow,
) -> WorkflowRecord {
    let now = front.world.clock.now();
    let Workflow { title, description, status, definition, settings } = workflow;
    WorkflowRecord {
        id: front.world.mint.mint(now),
        permanent_id: permanent_id.unwrap_or_else(|| front.world.mint.mint(now)),
        organization: caller.organization,
        version,
        title,
        description,
        status,
        definition: definition.raw,
        settings,
        created_at: now,
        modified_at: now,
        deleted_at: None,
    }
}

async fn insert_first(
    front: &Front,
    caller: Caller,
    workflow: Workflow,
    named: Option<Named<WorkflowId>>,
) -> Result<Value, ApiError> {
    check_settings(&workflow.settings)?;
    let mut record = record(front, caller, None, 1, workflow);
    if let Some(Named { id, again }) = named {
        record.id = id;
        if again && let Some(known) = stored_before(front, caller, id).await? {
            return Ok(known);
        }
    }
    let answer = warned(shown(&record)?, &record.settings);
    refuse_taken(front, caller, &record.settings, None).await?;
    match db::workflows::insert(&front.db, &record).await {
        // The earlier request stored it, but its outcome was unknown.
        Err(DbError::Conflict) if named.is_some_and(|named| named.again) => {
            let known = stored_before(front, caller, record.id).await?;
            Ok(known.ok_or(DbError::Conflict)?)
        }
        Err(DbError::Conflict) => {
            // Another workflow has taken the name meanwhile.
            refuse_taken(front, caller, &record.settings, None).await?;
            Err(DbError::Conflict.into())
        }
        stored => Ok(stored.map(|()| answer)?),
    }
}

/// Returns the workflow that an earlier request with the same key stored.
async fn stored_before(
    front: &Front,
    caller: Caller,
    id: WorkflowId,
) -> Result<Option<Value>, ApiError> {
    let known = db::workflows::by_id(&front.db, caller.organization, id).await?;
    let Some(known) = known else { return Ok(None) };
    Ok(Some(warned(shown(&known)?, &known.settings)))
}

async fn insert_next(
    front: &Front,
    caller: Caller,
    id: WorkflowPermanentId,
    workflow: Workflow,
    expected: Option<i32>,
) -> Result<Value, ApiError> {
    for _ in 0..TRIES {
        let latest = super::latest(front, caller.organization, id).await?;
        if let Some(expected) = expected.filter(|expected| *expected != latest.version) {
            let detail = format!(
                "version {expected} was edited, and the workflow has version {} now: read it again",
                latest.version,
            );
            let problem = Problem::new(StatusCode::CONFLICT, "workflow_version_conflict", detail);
            return Err(problem.into());
        }
        let version = latest.version.saturating_add(1);
        let mut next = record(front, caller, Some(id), version, workflow.clone());
        unmask(&mut next.settings, &latest.settings);
        unmask_blocks(&mut next.definition, &latest.definition);
        check_settings(&next.settings)?;
        let answer = warned(shown(&next)?, &next.settings);
        refuse_taken(front, caller, &next.settings, Some(id)).await?;
        match db::workflows::insert(&front.db, &next).await {
            Ok(()) => return Ok(answer),
            Err(DbError::Conflict) => {} // Another writer has taken the number, or the name.
            Err(
                cause @ (DbError::Unavailable(_) | DbError::Rejected(_) | DbError::Corrupt { .. }),
            ) => {
                return Err(cause.into());
            }
        }
    }
    let detail = "other requests are storing versions of this workflow at the same time: try again";
    Err(Problem::new(StatusCode::CONFLICT, "workflow_version_conflict", detail).retryable().into())
}

/// Restores the passwords that a client read as masked, by the labels of the blocks.
fn unmask_blocks(definition: &mut Value, before: &Value) {
    match definition {
        Value::Array(items) => items.iter_mut().for_each(|item| unmask_blocks(item, before)),
        Value::Object(members) => {
            let label = members.get("label").and_then(Value::as_str).map(str::to_owned);
            if let Some(password) = members.get_mut(PASSWORD).filter(|value| **value == MASKED)
                && let Some(kept) = label.and_then(|label| password_of(before, &label))
            {
                *password = kept.clone();
            }
            members.values_mut().for_each(|value| unmask_blocks(value, before));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

const PASSWORD: &str = "custom_smtp_password";

fn password_of<'a>(definition: &'a Value, label: &str) -> Option<&'a Value> {
    match definition {
        Value::Array(items) => items.iter().find_map(|item| password_of(item, label)),
        Value::Object(members) => {
            if members.get("label").and_then(Value::as_str) == Some(label) {
                return members.get(PASSWORD);
            }
            members.values().find_map(|value| password_of(value, label))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn without_a_definition_both_names_are_told() {
        let problem = Request::default().read().unwrap_err();
        assert_eq!(problem.status, StatusCode::UNPROCESSABLE_ENTITY);
        let text = problem.to_string();
        assert!(text.contains("yaml_definition") && text.contains("json_definition"), "{text}");
    }

    #[test]
    fn the_password_of_a_block_that_was_read_as_masked_stays() {
        let mail = |label: &str, password: &str| json!({ "label": label, "custom_smtp_password": password });
        let before = json!({ "blocks": [{ "label": "l", "loop_blocks": [mail("m", "hunter2")] }] });
        let mut after = json!({ "blocks": [mail("m", "***"), mail("n", "***"), mail("o", "new")] });
        unmask_blocks(&mut after, &before);
        let expected =
            json!({ "blocks": [mail("m", "hunter2"), mail("n", "***"), mail("o", "new")] });
        assert_eq!(after, expected);
    }
}

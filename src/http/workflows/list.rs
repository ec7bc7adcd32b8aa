//! `GET /v1/workflows`: lists the organization's workflows.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Json};
use serde::Deserialize;
use serde_json::Value;
use utoipa::IntoParams;

use super::shown;
use crate::db::workflows::Filter;
use crate::db::{self, Page};
use crate::domain::run::WorkflowRecord;
use crate::domain::workflow_settings::tags;
use crate::http::body::Query;
use crate::http::caller::Caller;
use crate::http::dialect::Dialect;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::paging::{self, Listed};
use crate::http::problem::Problem;

/// The name of the list in cursors.
const LIST: &str = "workflows";

/// The maximum number of workflows on a page.
const LARGEST_PAGE: u32 = 1000;

/// The query of the request.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct Params {
    /// The number of the page, from 1.
    #[param(minimum = 1, maximum = 1000000)]
    page: u32,
    /// The number of workflows on a page, 1 to 1000.
    #[param(minimum = 1, maximum = 1000)]
    page_size: u32,
    /// Only workflows with this text in the title or in the id.
    search_key: Option<String>,
    /// The older name of `search_key`.
    title: Option<String>,
    /// Only workflows with one of these statuses: `published`, `draft`, …; those two by default.
    status: Vec<String>,
    /// Only workflows that were created from a task.
    only_saved_tasks: bool,
    /// Only workflows that were not created from a task.
    only_workflows: bool,
    /// The whole name, as it is written.
    name: Option<String>,
    /// A tag that workflows must have; repeatable.
    tags: Vec<String>,
    /// The `x-next-cursor` of the part before, in place of a page.
    cursor: Option<String>,
    /// Only templates; this server has none.
    only_templates: bool,
    /// Only templates for all organizations; this server has none.
    template: bool,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            page: 1,
            page_size: 10,
            search_key: None,
            title: None,
            status: Vec::new(),
            only_saved_tasks: false,
            only_workflows: false,
            name: None,
            tags: Vec::new(),
            cursor: None,
            only_templates: false,
            template: false,
        }
    }
}

impl Params {
    fn page(&self) -> Result<Page, Problem> {
        let cursor = self.cursor.as_deref();
        paging::page(LIST, self.page, self.page_size, LARGEST_PAGE, cursor)
    }
}

fn is_saved_task(record: &WorkflowRecord) -> bool {
    record.settings.get("is_saved_task").and_then(Value::as_bool).unwrap_or(false)
}

/// Lists the latest version of each workflow, newest first.
#[utoipa::path(
    get,
    path = "/v1/workflows",
    tag = "Workflows",
    params(Params),
    responses(
        (
            status = 200,
            description = "The workflows",
            body = Vec<Object>,
            headers(("x-next-cursor" = Option<String>, description = "The `cursor` of the next part")),
        ),
        (status = 400, description = "The filters contradict each other"),
        (status = 422, description = "Fields are invalid, or the cursor is (`cursor_invalid`)"),
    ),
)]
pub async fn list(
    caller: Caller,
    Query(params): Query<Params>,
    dialect: Dialect,
    front: Data<Front>,
) -> Result<Listed<Value>, ApiError> {
    let (page, size) = (params.page()?, params.page_size);
    if params.only_saved_tasks && params.only_workflows {
        let detail = "only_saved_tasks and only_workflows cannot be used together";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "filters_contradict", detail).into());
    }
    if params.only_templates || params.template {
        return Ok(Listed::whole(Vec::new()));
    }
    let search = params.search_key.or(params.title).filter(|needle| !needle.trim().is_empty());
    let statuses = if params.status.is_empty() {
        vec!["published".to_owned(), "draft".to_owned()]
    } else {
        params.status
    };
    let filter = Filter { search, statuses, name: params.name };
    let (any, wanted_tags) = (!params.only_saved_tasks && !params.only_workflows, params.tags);
    let records: Vec<WorkflowRecord> = if !any || !wanted_tags.is_empty() {
        // The origin and the tags of a workflow are among its settings, which the database does not read.
        let (number, after) = (page.number, page.after);
        let all = Page { after, ..Page::first(10_000) };
        let all = db::workflows::list(&front.db, caller.organization, filter, all).await?;
        let wanted = all.into_iter().filter(|it| {
            let known = tags(&it.settings);
            (any || is_saved_task(it) == params.only_saved_tasks)
                && wanted_tags.iter().all(|tag| known.contains(&tag.as_str()))
        });
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let before = usize::try_from(number - 1).unwrap_or(usize::MAX).saturating_mul(size);
        wanted.skip(before).take(size).collect()
    } else {
        db::workflows::list(&front.db, caller.organization, filter, page).await?
    };
    // A workflow that cannot be read is left out, so that the others are still listed.
    let shown = records.iter().filter_map(|record| shown(record).ok());
    let shown = shown.map(|workflow| dialect.show(workflow)).collect();
    Ok(Listed::of(LIST, size, &records, shown))
}

/// Handles `GET /api/v1/workflows/templates`; the list is always empty.
pub async fn templates(_: Caller) -> Json<Vec<Value>> {
    Json(Vec::new())
}

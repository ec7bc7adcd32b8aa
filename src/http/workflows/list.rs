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
use crate::http::body::Query;
use crate::http::caller::Caller;
use crate::http::dialect::Dialect;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::paging;
use crate::http::problem::Problem;

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
            only_templates: false,
            template: false,
        }
    }
}

impl Params {
    fn page(&self) -> Result<Page, Problem> {
        paging::page(self.page, self.page_size, LARGEST_PAGE)
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
        (status = 200, description = "The workflows", body = Vec<Object>),
        (status = 400, description = "The filters contradict each other"),
    ),
)]
pub async fn list(
    caller: Caller,
    Query(params): Query<Params>,
    dialect: Dialect,
    front: Data<Front>,
) -> Result<Json<Vec<Value>>, ApiError> {
    let page = params.page()?;
    if params.only_saved_tasks && params.only_workflows {
        let detail = "only_saved_tasks and only_workflows cannot be used together";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "filters_contradict", detail).into());
    }
    if params.only_templates || params.template {
        return Ok(Json(Vec::new()));
    }
    let search = params.search_key.or(params.title).filter(|needle| !needle.trim().is_empty());
    let statuses = if params.status.is_empty() {
        vec!["published".to_owned(), "draft".to_owned()]
    } else {
        params.status
    };
    let filter = Filter { search, statuses };
    let records = if params.only_saved_tasks || params.only_workflows {
        // The origin of a workflow is among its settings, which the database does not read.
        let all = Page { number: 1, size: 10_000 };
        let all = db::workflows::list(&front.db, caller.organization, filter, all).await?;
        let wanted = all.into_iter().filter(|it| is_saved_task(it) == params.only_saved_tasks);
        let size = usize::try_from(page.size).unwrap_or(usize::MAX);
        let before = usize::try_from(page.number - 1).unwrap_or(usize::MAX).saturating_mul(size);
        wanted.skip(before).take(size).collect()
    } else {
        db::workflows::list(&front.db, caller.organization, filter, page).await?
    };
    // A workflow that cannot be read is left out, so that the others are still listed.
    let shown = records.iter().filter_map(|record| shown(record).ok());
    Ok(Json(shown.map(|workflow| dialect.show(workflow)).collect()))
}

/// Handles `GET /api/v1/workflows/templates`; the list is always empty.
pub async fn templates(_: Caller) -> Json<Vec<Value>> {
    Json(Vec::new())
}

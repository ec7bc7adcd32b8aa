//! Lists of runs: all runs, those of a workflow, and those of a session.

use actix_web::web::Data;
use chrono::{DateTime, Utc};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::db::runs::Filter;
use crate::db::{self, Page};
use crate::domain::ids::{OrganizationId, SessionId, WorkflowPermanentId};
use crate::domain::run::{RunRecord, RunStatus};
use crate::http::body::{PathId, Query};
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::paging::{self, Listed};
use crate::http::problem::Problem;
use crate::http::sessions;
use crate::service::resources::run::{RunItem, RunSummary};

/// The name of the lists in cursors.
const LIST: &str = "runs";

/// The query of the request.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct Params {
    /// The number of the page, from 1.
    #[param(minimum = 1, maximum = 1000000)]
    page: u32,
    /// The number of runs on a page, 1 to 100.
    #[param(minimum = 1, maximum = 100)]
    page_size: u32,
    /// Only runs with one of these statuses.
    #[param(value_type = Vec<String>)]
    status: Vec<RunStatus>,
    /// Only runs with this text in the title or in the id.
    search_key: Option<String>,
    /// Only runs of this type; the only type is `workflow_run`.
    run_type: Vec<String>,
    /// Only runs of this workflow.
    workflow_permanent_id: Option<String>,
    /// Only runs that were created at this time or later.
    created_at_start: Option<DateTime<Utc>>,
    /// Only runs that were created before this time.
    created_at_end: Option<DateTime<Utc>>,
    /// The `x-next-cursor` of the part before, in place of a page.
    cursor: Option<String>,
}

impl Default for Params {
    fn default() -> Self {
        Self {
            page: 1,
            page_size: 10,
            status: Vec::new(),
            search_key: None,
            run_type: Vec::new(),
            workflow_permanent_id: None,
            created_at_start: None,
            created_at_end: None,
            cursor: None,
        }
    }
}

impl Params {
    /// Converts the query to a filter and a page; none if no run can match.
    fn check(&self) -> Result<Option<(Filter, Page)>, Problem> {
        let page = paging::page(LIST, self.page, self.page_size, 100, self.cursor.as_deref())?;
        let other = |run_type: &String| run_type != "workflow_run";
        if !self.run_type.is_empty() && self.run_type.iter().all(other) {
            return Ok(None);
        }
        let workflow_permanent_id = match &self.workflow_permanent_id {
            None => None,
            Some(text) => match text.parse() {
                Ok(id) => Some(id),
                Err(_) => return Ok(None), // An invalid id matches no run.
            },
        };
        let filter = Filter {
            statuses: self.status.clone(),
            workflow_permanent_id,
            search: self.search_key.clone().filter(|needle| !needle.trim().is_empty()),
            created_from: self.created_at_start,
            created_until: self.created_at_end,
            ..Filter::default()
        };
        Ok(Some((filter, page)))
    }

    async fn records(
        &self,
        front: &Front,
        organization: OrganizationId,
        narrow: impl FnOnce(&mut Filter),
    ) -> Result<Vec<RunRecord>, ApiError> {
        let Some((mut filter, page)) = self.check()? else { return Ok(Vec::new()) };
        narrow(&mut filter);
        Ok(db::runs::list(&front.db, organization, filter, page).await?)
    }
}

fn items(params: &Params, records: &[RunRecord]) -> Listed<RunItem> {
    Listed::of(LIST, params.page_size, records, records.iter().map(RunItem::from).collect())
}

/// Lists the organization's runs, newest first.
#[utoipa::path(
    get,
    path = "/v1/runs",
    tag = "Runs",
    params(Params),
    responses(
        (
            status = 200,
            description = "The runs",
            body = Vec<RunSummary>,
            headers(("x-next-cursor" = Option<String>, description = "The `cursor` of the next part")),
        ),
        (status = 422, description = "Fields are invalid, or the cursor is (`cursor_invalid`)"),
    ),
)]
pub async fn runs(
    caller: Caller,
    Query(params): Query<Params>,
    front: Data<Front>,
) -> Result<Listed<RunSummary>, ApiError> {
    let records = params.records(&front, caller.organization, |_| ()).await?;
    let shown = records.iter().map(RunSummary::from).collect();
    Ok(Listed::of(LIST, params.page_size, &records, shown))
}

/// Lists the runs of all workflows, newest first.
#[utoipa::path(
    get,
    path = "/v1/workflows/runs",
    tag = "Runs",
    params(Params),
    responses(
        (
            status = 200,
            description = "The runs",
            body = Vec<RunItem>,
            headers(("x-next-cursor" = Option<String>, description = "The `cursor` of the next part")),
        ),
        (status = 422, description = "Fields are invalid, or the cursor is (`cursor_invalid`)"),
    ),
)]
pub async fn workflow_runs(
    caller: Caller,
    Query(params): Query<Params>,
    front: Data<Front>,
) -> Result<Listed<RunItem>, ApiError> {
    Ok(items(&params, &params.records(&front, caller.organization, |_| ()).await?))
}

/// Lists the runs of one workflow over all its versions, newest first.
#[utoipa::path(
    get,
    path = "/v1/workflows/{workflow_permanent_id}/runs",
    tag = "Runs",
    params(("workflow_permanent_id" = String, Path, description = "`wpid_…`"), Params),
    responses(
        (
            status = 200,
            description = "The runs",
            body = Vec<RunItem>,
            headers(("x-next-cursor" = Option<String>, description = "The `cursor` of the next part")),
        ),
        (status = 422, description = "Fields are invalid, or the cursor is (`cursor_invalid`)"),
    ),
)]
pub async fn runs_of_workflow(
    caller: Caller,
    PathId(id): PathId<WorkflowPermanentId>,
    Query(params): Query<Params>,
    front: Data<Front>,
) -> Result<Listed<RunItem>, ApiError> {
    let narrow = |filter: &mut Filter| filter.workflow_permanent_id = Some(id);
    Ok(items(&params, &params.records(&front, caller.organization, narrow).await?))
}

/// Lists the runs that drove a session, newest first.
#[utoipa::path(
    get,
    path = "/v1/browser_sessions/{browser_session_id}/workflow_runs",
    tag = "Browser sessions",
    params(("browser_session_id" = String, Path, description = "`pbs_…`"), Params),
    responses(
        (
            status = 200,
            description = "The runs",
            body = Vec<RunItem>,
            headers(("x-next-cursor" = Option<String>, description = "The `cursor` of the next part")),
        ),
        (status = 404, description = "There is no such session"),
    ),
)]
pub async fn runs_of_session(
    caller: Caller,
    PathId(id): PathId<SessionId>,
    Query(params): Query<Params>,
    front: Data<Front>,
) -> Result<Listed<RunItem>, ApiError> {
    sessions::find(&front, caller.organization, id).await?;
    let narrow = |filter: &mut Filter| filter.session = Some(id);
    Ok(items(&params, &params.records(&front, caller.organization, narrow).await?))
}

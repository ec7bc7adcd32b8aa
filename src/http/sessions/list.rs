//! `GET /v1/browser_sessions` and `…/history`: the organization's sessions.

use actix_web::web::{Data, Json};
use serde::Deserialize;
use utoipa::IntoParams;

use super::SessionResource;
use crate::actors::views::SessionView;
use crate::db::{self, Page};
use crate::domain::labels::Name;
use crate::domain::session::{SessionRecord, SessionSpec};
use crate::http::body::Query;
use crate::http::caller::{Bearer, Caller};
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::paging;

/// The labels of the sessions to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct Labels {
    /// The whole name, as it is written.
    name: Option<String>,
    /// A tag that sessions must have; repeatable.
    tags: Vec<String>,
}

impl Labels {
    fn matches(&self, spec: &SessionSpec) -> bool {
        let known = spec.name.as_ref().map(Name::as_str);
        let is_named = self.name.as_deref().is_none_or(|name| known == Some(name));
        is_named && spec.tags.has_all(&self.tags)
    }
}

/// Lists the live sessions that the key may see, newest first.
#[utoipa::path(
    get,
    path = "/v1/browser_sessions",
    tag = "Browser sessions",
    params(Labels),
    responses(
        (status = 200, description = "The sessions", body = Vec<SessionResource>),
    ),
)]
pub async fn list(
    bearer: Bearer,
    Query(filter): Query<Labels>,
    front: Data<Front>,
) -> Json<Vec<SessionResource>> {
    let mut views = front.world.views.sessions(bearer.caller.organization);
    views.retain(|view| bearer.sees(view.record.id) && filter.matches(&view.record.spec));
    let is_whole = bearer.whole().is_ok();
    let shown = views.iter().map(|view| {
        let session = SessionResource::of(view, &front);
        let egress = session.egress.filter(|_egress| is_whole);
        SessionResource { egress, ..session }
    });
    Json(shown.collect())
}

/// The page of the history.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct Paging {
    /// The number of the page, from 1.
    #[param(minimum = 1, maximum = 1000000)]
    page: u32,
    /// The number of sessions on a page, 1 to 100.
    #[param(minimum = 1, maximum = 100)]
    page_size: u32,
}

impl Default for Paging {
    fn default() -> Self {
        Self { page: 1, page_size: 10 }
    }
}

impl Paging {
    /// Returns the page, if it is within the limits of the compatible API.
    pub fn page(&self) -> Result<Page, ApiError> {
        Ok(paging::page(self.page, self.page_size, 100)?)
    }
}

/// Lists the sessions of the last seven days: running ones first, then the newest.
#[utoipa::path(
    get,
    path = "/v1/browser_sessions/history",
    tag = "Browser sessions",
    params(Paging),
    responses(
        (status = 200, description = "The sessions", body = Vec<SessionResource>),
        (status = 422, description = "Fields are invalid; `detail` lists them"),
    ),
)]
pub async fn history(
    caller: Caller,
    query: Query<Paging>,
    front: Data<Front>,
) -> Result<Json<Vec<SessionResource>>, ApiError> {
    let page = query.0.page()?;
    let since = front.world.clock.now() - chrono::Duration::days(7);
    let records = db::sessions::history(&front.db, caller.organization, since, page).await?;
    let shown = records.into_iter().map(|record: SessionRecord| {
        let live = front.world.views.session(caller.organization, record.id);
        let view = match live {
            Some(view) => view.borrow().clone(),
            None => SessionView::of_stored(record),
        };
        SessionResource::of(&view, &front)
    });
    Ok(Json(shown.collect()))
}

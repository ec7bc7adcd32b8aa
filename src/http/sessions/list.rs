//! `GET /v1/browser_sessions` and `…/history`: the organization's sessions.

use actix_web::web::Data;
use serde::Deserialize;
use utoipa::IntoParams;

use super::SessionResource;
use crate::actors::views::SessionView;
use crate::db::{self, Page};
use crate::domain::ids::SessionId;
use crate::domain::labels::Name;
use crate::domain::session::{SessionRecord, SessionSpec};
use crate::http::body::Query;
use crate::http::caller::{Bearer, Caller};
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::paging::{self, Listed};
use crate::http::problem::Problem;

/// The names of the lists in cursors.
const LIVE: &str = "sessions";
const HISTORY: &str = "history";

/// The most sessions on a page.
const LARGEST_PAGE: u32 = 100;

/// The sessions to list: their labels, and the part of the list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct Labels {
    /// The whole name, as it is written.
    name: Option<String>,
    /// A tag that sessions must have; repeatable.
    tags: Vec<String>,
    /// The number of sessions in a part of the list, 1 to 100. All of them by default; 100 beside a cursor.
    #[param(minimum = 1, maximum = 100)]
    page_size: Option<u32>,
    /// The `x-next-cursor` of the part before.
    cursor: Option<String>,
}

impl Labels {
    fn matches(&self, spec: &SessionSpec) -> bool {
        let known = spec.name.as_ref().map(Name::as_str);
        let is_named = self.name.as_deref().is_none_or(|name| known == Some(name));
        is_named && spec.tags.has_all(&self.tags)
    }

    /// Returns the part of the list; none for the whole list.
    fn page(&self) -> Result<Option<Page>, Problem> {
        let cursor = self.cursor.as_deref();
        if cursor.is_none() && self.page_size.is_none() {
            return Ok(None);
        }
        let size = self.page_size.unwrap_or(LARGEST_PAGE);
        paging::page(LIVE, 1, size, LARGEST_PAGE, cursor).map(Some)
    }
}

/// Lists the live sessions that the key may see, newest first.
#[utoipa::path(
    get,
    path = "/v1/browser_sessions",
    tag = "Browser sessions",
    params(Labels),
    responses(
        (
            status = 200,
            description = "The sessions",
            body = Vec<SessionResource>,
            headers(("x-next-cursor" = Option<String>, description = "The `cursor` of the next part")),
        ),
        (status = 422, description = "Fields are invalid, or the cursor is (`cursor_invalid`)"),
    ),
)]
pub async fn list(
    bearer: Bearer,
    Query(filter): Query<Labels>,
    front: Data<Front>,
) -> Result<Listed<SessionResource>, ApiError> {
    let page = filter.page()?;
    let mut views = front.world.views.sessions(bearer.caller.organization);
    views.retain(|view| bearer.sees(view.record.id) && filter.matches(&view.record.spec));
    if let Some(page) = &page {
        if let Some(mark) = &page.after {
            let last: SessionId = mark.id.parse().map_err(|_odd| paging::invalid())?;
            views.retain(|view| (view.record.created_at, view.record.id) < (mark.at, last));
        }
        views.truncate(usize::try_from(page.size).unwrap_or(usize::MAX));
    }
    let is_whole = bearer.whole().is_ok();
    let shown = views.iter().map(|view| {
        let session = SessionResource::of(view, &front);
        let egress = session.egress.filter(|_egress| is_whole);
        SessionResource { egress, ..session }
    });
    let shown = shown.collect();
    let Some(page) = page else { return Ok(Listed::whole(shown)) };
    let rows: Vec<_> = views.into_iter().map(|view| view.record).collect();
    Ok(Listed::of(LIVE, page.size, &rows, shown))
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
    /// The `x-next-cursor` of the part before, in place of a page.
    cursor: Option<String>,
}

impl Default for Paging {
    fn default() -> Self {
        Self { page: 1, page_size: 10, cursor: None }
    }
}

impl Paging {
    /// Returns the page, if it is within the limits of the compatible API.
    pub fn page(&self) -> Result<Page, ApiError> {
        let cursor = self.cursor.as_deref();
        Ok(paging::page(HISTORY, self.page, self.page_size, LARGEST_PAGE, cursor)?)
    }
}

/// Lists the sessions of the last seven days: running ones first, then the newest.
#[utoipa::path(
    get,
    path = "/v1/browser_sessions/history",
    tag = "Browser sessions",
    params(Paging),
    responses(
        (
            status = 200,
            description = "The sessions",
            body = Vec<SessionResource>,
            headers(("x-next-cursor" = Option<String>, description = "The `cursor` of the next part")),
        ),
        (status = 422, description = "Fields are invalid, or the cursor is (`cursor_invalid`)"),
    ),
)]
pub async fn history(
    caller: Caller,
    query: Query<Paging>,
    front: Data<Front>,
) -> Result<Listed<SessionResource>, ApiError> {
    let page = query.0.page()?;
    let since = front.world.clock.now() - chrono::Duration::days(7);
    let records = db::sessions::history(&front.db, caller.organization, since, page).await?;
    let shown = records.iter().map(|record: &SessionRecord| {
        let live = front.world.views.session(caller.organization, record.id);
        let view = match live {
            Some(view) => view.borrow().clone(),
            None => SessionView::of_stored(record.clone()),
        };
        SessionResource::of(&view, &front)
    });
    let shown = shown.collect();
    Ok(Listed::of(HISTORY, query.0.page_size, &records, shown))
}

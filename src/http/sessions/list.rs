//! `GET /v1/browser_sessions` and `…/history`: the organization's sessions.

use actix_web::web::{Data, Json};
use serde::Deserialize;

use super::SessionResource;
use crate::actors::views::SessionView;
use crate::db::{self, Page};
use crate::domain::session::SessionRecord;
use crate::http::body::Query;
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::validation::Fields;

/// Those that live.
pub async fn list(caller: Caller, front: Data<Front>) -> Json<Vec<SessionResource>> {
    let views = front.world.views.sessions(caller.organization);
    Json(views.iter().map(|view| SessionResource::of(view, &front)).collect())
}

/// Which page of the history.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct Paging {
    page: u32,
    page_size: u32,
}

impl Default for Paging {
    fn default() -> Self {
        Self { page: 1, page_size: 10 }
    }
}

impl Paging {
    /// The page, within what the compatible API allows.
    pub fn page(&self) -> Result<Page, ApiError> {
        let mut fields = Fields::of_query();
        let from_one = if self.page >= 1 { Ok(()) } else { Err("expected 1 or more") };
        fields.check("page", &self.page, from_one);
        let within = (1..=100).contains(&self.page_size);
        let within = if within { Ok(()) } else { Err("expected 1 to 100") };
        fields.check("page_size", &self.page_size, within);
        fields.finish()?;
        Ok(Page { number: self.page, size: self.page_size })
    }
}

/// Those of the last seven days: the running first, then the newest.
pub async fn history(
    caller: Caller,
    query: Query<Paging>,
    front: Data<Front>,
) -> Result<Json<Vec<SessionResource>>, ApiError> {
    let page = query.0.page()?;
    let now = front.world.clock.now();
    let records = db::sessions::history(&front.db, caller.organization, now, page).await?;
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

//! Who drives a session, and for how long.

use std::pin::Pin;

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::domain::ids::{OrganizationId, SessionId};
use crate::http::body::parse_query;
use crate::http::caller::{Caller, refused};
use crate::http::front::Front;
use crate::http::problem::Problem;

/// Whoever has a key of the session's organization, or a pass for it. The path of the request must
/// name the session as `id`.
#[derive(Debug)]
pub(super) struct Driver {
    /// Whose session it may drive.
    pub(super) organization: OrganizationId,
    /// Canceled when it may not any more.
    pub(super) until: CancellationToken,
    /// What an address of the same session needs behind it.
    pub(super) query: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Query {
    pass: Option<String>,
}

impl Driver {
    fn by_pass(request: &HttpRequest, secret: &str) -> Option<Self> {
        let front = request.app_data::<web::Data<Front>>()?;
        let session: SessionId = request.match_info().get("id")?.parse().ok()?;
        let errand = front.world.passes.errand(secret)?;
        (errand.session == session).then(|| Self {
            organization: errand.organization,
            until: errand.over,
            query: format!("?pass={secret}"),
        })
    }
}

impl FromRequest for Driver {
    type Error = Problem;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Problem>>>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let given: Query = parse_query(request.query_string()).unwrap_or_default();
        if let Some(secret) = given.pass {
            let driver = Self::by_pass(request, &secret).ok_or_else(refused);
            return Box::pin(std::future::ready(driver));
        }
        let caller = Caller::from_request(request, payload);
        Box::pin(async move {
            let organization = caller.await?.organization;
            Ok(Self { organization, until: CancellationToken::new(), query: String::new() })
        })
    }
}

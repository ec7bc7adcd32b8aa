//! `/v1/debug-session`: the long-lived session that a person uses for a workflow.
//!
//! A person has at most one for each workflow, whatever the number of first calls. It lives for
//! `sessions.debug_session_seconds` from its last use. Each use renews it and its browser session,
//! and never shortens either. A browser session that has died, expired or been closed is replaced at
//! the next use, and the response says so. The browser starts at its first use, because a page that
//! only looks at a workflow requests a debug session too. After its start, a session that nobody
//! watches, drives or runs a block in is closed after `sessions.debug_session_unused_seconds`.
//!
//! The routes and fields are those of the compatible API; Greenroom adds some of its own.

pub mod block_outputs;
pub mod close;
pub mod renew;
pub mod runs;
pub mod show;
pub mod viewer;

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::web::{ServiceConfig, delete, get, post, resource as at};
use actix_web::{FromRequest, HttpRequest};

use super::caller::Caller;
use super::problem::Problem;
use super::validation::{Fields, RequestPart};
use crate::domain::ids::WorkflowPermanentId;
use crate::service::debug_sessions::Owner;

pub fn routes(config: &mut ServiceConfig) {
    config
        .service(
            at("/v1/debug-session/{id}")
                .route(get().to(show::show))
                .route(delete().to(close::close)),
        )
        .route("/v1/debug-session/{id}/new", post().to(renew::renew))
        .route("/v1/debug-session/{id}/viewer-state", get().to(viewer::viewer_state))
        .route("/v1/debug-session/{id}/block-outputs", get().to(block_outputs::block_outputs))
        .route(
            "/v1/debug-session/{id}/login-block-compatibility",
            get().to(viewer::login_block_compatibility),
        )
        .route("/v1/debug-session/{id}/runs", get().to(runs::runs));
}

/// The header that names a person of the organization.
const PERSON: &str = "x-greenroom-user";

/// The person that sends a request, as named by the organization. Every holder of the organization's
/// key is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person(Option<String>);

impl Person {
    /// Returns the owner of the debug session for a workflow. Requests without a name share one
    /// person, like the compatible API's own pages.
    pub fn owner(self, caller: Caller, workflow: WorkflowPermanentId) -> Owner {
        let organization = caller.organization;
        let user = self.0.unwrap_or_else(|| format!("{organization}_user"));
        Owner { organization, user, workflow }
    }
}

impl FromRequest for Person {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let given = request.headers().get(PERSON);
        let Some(given) = given else { return ready(Ok(Self(None))) };
        let text = String::from_utf8_lossy(given.as_bytes()).into_owned();
        let mut fields = Fields::of(RequestPart::Header);
        let fits = (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        let wrong = "expected 1 to 128 visible ASCII characters";
        fields.require(PERSON, text.as_str(), fits, wrong);
        ready(fields.finish().map(|()| Self(Some(text))))
    }
}

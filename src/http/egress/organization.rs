//! `/v1/egress`: the lists that restrict all sessions of an organization.

use actix_web::web::{Data, Json};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::request::check_rules;
use crate::actors::registry::{Route, RouteError};
use crate::actors::session::{ChangeEgress, EgressChange, SessionError};
use crate::db;
use crate::domain::egress::EgressLists;
use crate::domain::ids::SessionId;
use crate::http::body::Body;
use crate::http::caller::Caller;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::problem::Problem;
use crate::http::validation::Fields;

/// The lists of an organization.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = OrganizationEgress)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The only targets that the organization's sessions may reach; if empty, every target that the
    /// server allows.
    allow: Vec<String>,
    /// Targets that the organization's sessions may not reach.
    deny: Vec<String>,
}

/// The lists of an organization, and the sessions in which they are not in force yet.
#[derive(Debug, Serialize, ToSchema)]
pub struct OrganizationEgressResource {
    /// The only targets that the organization's sessions may reach; if empty, every target that the
    /// server allows.
    allow: Vec<String>,
    /// Targets that the organization's sessions may not reach.
    deny: Vec<String>,
    /// Sessions in which the change is not in force yet, with the reason. It applies at their next
    /// start.
    not_in_force: Vec<NotInForce>,
}

/// A session in which a change is not in force yet.
#[derive(Debug, Serialize, ToSchema)]
pub struct NotInForce {
    /// The session's id, `pbs_…`.
    browser_session_id: String,
    /// A stable code for programs: `egress_unavailable`, `egress_unanswered`.
    #[schema(value_type = String)]
    code: Value,
    /// The reason, for people.
    #[schema(value_type = String)]
    detail: Value,
}

/// Returns the lists of the organization.
#[utoipa::path(
    get,
    path = "/v1/egress",
    tag = "Egress",
    responses((status = 200, description = "The lists", body = OrganizationEgressResource)),
)]
pub async fn show(
    caller: Caller,
    front: Data<Front>,
) -> Result<Json<OrganizationEgressResource>, ApiError> {
    let EgressLists { allow, deny } =
        db::organizations::egress(&front.db, caller.organization).await?;
    Ok(Json(OrganizationEgressResource { allow, deny, not_in_force: Vec::new() }))
}

/// Replaces the lists of the organization, and applies them to its live sessions on this server.
/// They restrict what the server allows: the server, the organization and the session must all
/// allow a target.
#[utoipa::path(
    put,
    path = "/v1/egress",
    tag = "Egress",
    request_body = Request,
    responses(
        (status = 200, description = "The lists are stored", body = OrganizationEgressResource),
        (status = 422, description = "Some entries are not rules; `detail` lists them by position"),
    ),
)]
pub async fn change(
    caller: Caller,
    Body(Request { allow, deny }): Body<Request>,
    front: Data<Front>,
) -> Result<Json<OrganizationEgressResource>, ApiError> {
    let mut fields = Fields::new();
    check_rules("allow", &allow, &mut fields);
    check_rules("deny", &deny, &mut fields);
    fields.finish()?;
    let organization = caller.organization;
    let lists = EgressLists { allow, deny };
    db::organizations::set_egress(&front.db, organization, &lists).await?;
    let sessions = front.world.views.sessions(organization).into_iter();
    let changes = sessions.map(|view| {
        let session = view.record.id;
        let message = ChangeEgress { change: EgressChange::Organization };
        let changed = front.registry.ask(Route { organization, session, message });
        async move { (session, changed.await) }
    });
    let mut not_in_force = Vec::new();
    for (session, changed) in join_all(changes).await {
        match changed {
            Ok(Ok(_)) => {}
            // The session has ended, or is about to.
            Ok(Err(RouteError::Unknown(_) | RouteError::Session(SessionError::Closing))) => {}
            Ok(Err(cause)) => not_in_force.push(not_changed(session, cause.into())),
            Err(cause) => not_in_force.push(not_changed(session, cause.into())),
        }
    }
    let EgressLists { allow, deny } = lists;
    Ok(Json(OrganizationEgressResource { allow, deny, not_in_force }))
}

fn not_changed(session: SessionId, cause: ApiError) -> NotInForce {
    let mut body = Problem::from(cause).body();
    let mut member = |name: &str| body.get_mut(name).map(Value::take).unwrap_or_default();
    NotInForce {
        browser_session_id: session.to_string(),
        code: member("code"),
        detail: member("detail"),
    }
}

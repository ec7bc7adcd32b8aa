//! `/admin/pool`: the desktops that run before a session asks for one, and the named pools that they belong to.

use actix_web::http::StatusCode;
use actix_web::web::{Data, Json, Path};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::actors::pool::{PoolError, PoolStatus, ShapeSettings};
use crate::actors::registry::{DeletePool, PutPool};
use crate::http::body::Body;
use crate::http::caller::Operator;
use crate::http::error::ApiError;
use crate::http::front::Front;
use crate::http::problem::Problem;
use crate::http::validation::{Fields, RequestPart};

/// The longest name of a pool, in characters.
const LONGEST_NAME: usize = 64;

/// The shape and the numbers of a named pool.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = PoolRequest)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// The number of desktops that are kept ready without any demand, at most 1000.
    #[schema(maximum = 1000)]
    ready: usize,
    /// The number up to which each session that finds no desktop raises it; `ready` by default, and for 0.
    #[schema(maximum = 1000)]
    maximum: Option<usize>,
    /// The width of the display in pixels; 1920 by default, or that of the settings for a pool that they name.
    #[schema(minimum = 200, maximum = 7680)]
    width: Option<u16>,
    /// The height of the display in pixels; 1080 by default, or that of the settings for a pool that they name.
    #[schema(minimum = 200, maximum = 7680)]
    height: Option<u16>,
    /// The name of the browser in `desktop.executables`, or `chromium`; by default the usual one, or that of the settings
    /// for a pool that they name.
    executable: Option<String>,
}

/// Shows the desktops that wait for a session, and how many sessions got one.
#[utoipa::path(
    get,
    path = "/admin/pool",
    tag = "Operation",
    responses((status = 200, description = "The state of the pool", body = PoolStatus)),
)]
pub async fn show(front: Data<Front>, _: Operator) -> Json<PoolStatus> {
    Json(front.world.pool.status())
}

/// Makes a named pool on this node, or replaces its shape and its numbers. Of a pool in the settings, only the numbers can be
/// replaced. The pool outlives a restart of the server, until it is deleted. Desktops beyond the new numbers are shut down;
/// sessions are left alone.
#[utoipa::path(
    put,
    path = "/admin/pool/{name}",
    tag = "Operation",
    params(("name" = String, Path, description = "1 to 64 letters, digits, `.`, `-` and `_`, and first a letter or a \
        digit; `default` for sessions that ask for no size")),
    request_body = Request,
    responses(
        (status = 200, description = "The state of the pool", body = PoolStatus),
        (status = 403, description = "This is not an operator key"),
        (status = 409, description = "Another pool has this size and executable"),
        (status = 422, description = "Fields are invalid; `detail` lists them"),
        (status = 429, description = "The API has made 50 pools, which is the limit"),
        (status = 503, description = "The pool cannot be stored in the data directory"),
    ),
)]
pub async fn put(
    _: Operator,
    name: Path<String>,
    Body(request): Body<Request>,
    front: Data<Front>,
) -> Result<Json<PoolStatus>, ApiError> {
    let name = name.into_inner();
    let settings = checked(&front, &name, request)?;
    let changed = front.registry.ask(PutPool { name, settings }).await?;
    Ok(changed.map(Json).map_err(problem)?)
}

/// Ends a pool that the API has made, and shuts down its desktops that wait. A pool in the settings has their numbers again.
#[utoipa::path(
    delete,
    path = "/admin/pool/{name}",
    tag = "Operation",
    params(("name" = String, Path, description = "The name of the pool")),
    responses(
        (status = 200, description = "The state of the pool", body = PoolStatus),
        (status = 403, description = "This is not an operator key"),
        (status = 404, description = "There is no such pool"),
        (status = 409, description = "The settings name this pool, and its numbers are theirs"),
        (status = 503, description = "The change cannot be stored in the data directory"),
    ),
)]
pub async fn delete(
    _: Operator,
    name: Path<String>,
    front: Data<Front>,
) -> Result<Json<PoolStatus>, ApiError> {
    let name = name.into_inner();
    let changed = front.registry.ask(DeletePool { name }).await?;
    Ok(changed.map(Json).map_err(problem)?)
}

/// Reads a request for the pool of this name.
///
/// # Errors
///
/// 422 that names every invalid field.
fn checked(front: &Front, name: &str, request: Request) -> Result<ShapeSettings, Problem> {
    let configured = front.world.pool.in_settings(name);
    let is_allowed = |char: char| char.is_ascii_alphanumeric() || ".-_".contains(char);
    let begins = name.starts_with(|first: char| first.is_ascii_alphanumeric());
    let fits = begins && name.len() <= LONGEST_NAME && name.chars().all(is_allowed);
    let mut path = Fields::of(RequestPart::Path);
    let message =
        "expected 1 to 64 letters, digits, `.`, `-` and `_`, and first a letter or a digit";
    path.require("name", name, fits || configured.is_some(), message);
    path.finish()?;

    let Request { ready, maximum, width, height, executable } = request;
    let mut fields = Fields::new();
    let choices = &front.world.settings.browsers;
    let chosen = executable.as_deref().and_then(|executable| {
        fields.check("executable", executable, choices.executable(executable))
    });
    let default = configured.cloned().unwrap_or_default();
    let settings = ShapeSettings {
        ready,
        maximum: maximum.unwrap_or_default(),
        width: width.unwrap_or(default.width),
        height: height.unwrap_or(default.height),
        executable: chosen.unwrap_or_else(|| default.executable.clone()),
    };
    for (member, reason) in settings.problems() {
        let given = serde_json::to_value(&settings).unwrap_or_default();
        fields.refuse(member, given.get(member).cloned().unwrap_or_default(), reason);
    }
    if let Some(fixed) = configured {
        let of_settings = "the settings fix it for this pool: leave it out";
        fields.require("width", settings.width, settings.width == fixed.width, of_settings);
        fields.require("height", settings.height, settings.height == fixed.height, of_settings);
        let is_same = settings.executable == fixed.executable;
        fields.require("executable", executable, is_same, of_settings);
    }
    fields.finish()?;
    Ok(settings)
}

fn problem(cause: PoolError) -> Problem {
    let detail = cause.to_string();
    match cause {
        PoolError::Unknown(_) => Problem::new(StatusCode::NOT_FOUND, "pool_unknown", detail),
        PoolError::InSettings(_) => Problem::new(StatusCode::CONFLICT, "pool_in_settings", detail),
        PoolError::ShapeTaken { .. } => {
            Problem::new(StatusCode::CONFLICT, "pool_shape_taken", detail)
        }
        PoolError::TooMany => Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_pools", detail),
        PoolError::NotStored(_) => {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "pool_not_stored", detail).retryable()
        }
    }
}

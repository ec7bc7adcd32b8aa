//! `/v1/workflows`: the workflows that runs execute, in immutable versions.
//!
//! The routes, fields and statuses are those of the compatible API. Each is also available under
//! `/v1/agents`, and in the older form under `/api/v1/workflows`.

pub mod create;
pub mod delete;
pub mod list;
pub mod show;

use actix_web::http::StatusCode;
use actix_web::web::{ServiceConfig, delete as remove, get, post, put, resource as at};
use serde_json::{Value, json};
use tracing::error;

use super::problem::Problem;
use super::validation::{FieldError, PathStep, RequestPart};
use crate::domain::run::WorkflowRecord;
pub use crate::service::lookup::workflow as latest;
use crate::workflow::definition::{Definition, DefinitionErrors, PathPart};
use crate::workflow::response;

/// The names of a workflow in paths of the compatible API; each route is available under both.
pub const NAMES: [&str; 2] = ["workflows", "agents"];

/// Adds the routes. They must come after those of `/v1/workflows/runs`.
pub fn routes(config: &mut ServiceConfig) {
    for name in NAMES {
        let of = |rest: &str| format!("/v1/{name}{rest}");
        config
            .service(at(of("")).route(post().to(create::create)).route(get().to(list::list)))
            .service(
                at(of("/{workflow}")).route(post().to(create::update)).route(get().to(show::show)),
            )
            .route(&of("/{workflow}/delete"), post().to(delete::delete))
            .route(&of("/{workflow}/versions"), get().to(show::versions));
    }
    config
        .service(
            at("/api/v1/workflows")
                .route(post().to(create::create_from_text))
                .route(get().to(list::list)),
        )
        .route("/api/v1/workflows/templates", get().to(list::templates))
        .service(
            at("/api/v1/workflows/{workflow}")
                .route(put().to(create::update_from_text))
                .route(remove().to(delete::delete))
                .route(get().to(show::show)),
        )
        .route("/api/v1/workflows/{workflow}/versions", get().to(show::versions));
}

/// Reads the definition of a stored version.
///
/// # Errors
///
/// 422 if this server cannot execute a definition that another version of the server stored.
pub fn definition_of(record: &WorkflowRecord) -> Result<Definition, Problem> {
    Definition::stored(&record.definition).map_err(|cause| {
        error!("workflow {} as stored cannot be read: {cause}", record.id);
        let detail = format!("version {} of the workflow cannot be read: {cause}", record.version);
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "definition_unreadable", detail)
    })
}

/// Formats a version for clients.
///
/// # Errors
///
/// Those of [`definition_of`].
pub fn shown(record: &WorkflowRecord) -> Result<Value, Problem> {
    Ok(response::workflow(record, &definition_of(record)?))
}

/// Creates a 422 problem with all errors of a definition, each with its block, its field and, in
/// YAML, its line.
fn refused(errors: DefinitionErrors, within: Option<&str>) -> Problem {
    let fields = errors.0.into_iter().map(|error| {
        let message = error.to_string();
        let way = within.map(|name| PathStep::Name(name.to_owned())).into_iter().chain(
            error.path.into_iter().map(|part| match part {
                PathPart::Key(key) => PathStep::Name(key),
                PathPart::Index(index) => PathStep::Index(index),
            }),
        );
        let mut place = serde_json::Map::new();
        if let Some(block) = error.block {
            place.insert("block".to_owned(), block.into());
        }
        if let Some(line) = error.line {
            place.insert("line".to_owned(), line.into());
        }
        let field = FieldError::new(RequestPart::Body, way, error.code, message).given(error.input);
        if place.is_empty() { field } else { field.context(json!(place)) }
    });
    Problem::invalid(fields.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workflow::definition::Workflow;

    #[test]
    fn a_refused_definition_names_block_field_and_line() {
        let text = "title: t\nworkflow_definition:\n  blocks:\n    - block_type: wait\n      label: pause\n      wait_sec: 0\n";
        let problem = refused(Workflow::from_yaml(text).unwrap_err(), Some("yaml_definition"));
        let detail = &problem.body()["detail"][0];
        assert_eq!(
            detail["loc"],
            json!(["body", "yaml_definition", "workflow_definition", "blocks", 0, "wait_sec"])
        );
        assert_eq!(detail["ctx"], json!({"block": "pause", "line": 6}));
    }
}

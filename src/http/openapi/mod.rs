//! `GET /openapi.json`: the description of the API, generated from the endpoints.

mod allow;
mod answers;
mod parameters;
mod ranges;
mod rules;

use actix_web::HttpResponse;
use actix_web::web::{Bytes, Data, ServiceConfig, get};
use parking_lot::Mutex;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityScheme};
use utoipa::openapi::{Components, OpenApi, SecurityRequirement};
use utoipa::{Modify, OpenApi as _};

pub use self::allow::methods;
use self::answers::Problems;
use self::rules::Bounds;
use super::front::Front;
use super::{
    admin, agent, api_keys, artifacts, browser_profiles, debug_sessions, devtools, egress, events,
    explain, extensions, metrics, quotas, runs, sessions, ui_session, webhooks, workflows,
};

/// The name of the security scheme in the description.
const KEY: &str = "api_key";

/// Visible ASCII characters, as in ids of clients and names of people.
const VISIBLE: &str = "^[!-~]+$";

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Greenroom",
        description = "Persistent, watchable browser sessions, and workflow runs that drive them. \
            Every error has `detail`, a stable `code`, `retryable` and `request_id`.",
    ),
    tags(
        (name = "Agent", description = "Reports of the agent that executes blocks which need a model."),
        (name = "Artifacts", description = "Files that outlive sessions: downloads, recordings, pictures, PDFs."),
        (name = "Browser profiles", description = "Stored logins, in versions, from which sessions start."),
        (name = "Browser sessions", description = "Browsers with a display each, their occupancy and their recordings."),
        (name = "Credentials", description = "API keys, tokens of pages and quotas of the organization."),
        (name = "Debug sessions", description = "A browser session for one person and one workflow."),
        (name = "Egress", description = "The targets that sessions may reach."),
        (name = "Events", description = "Changes of sessions and runs, as a stream or in pages."),
        (name = "Extensions", description = "Extensions of browsers, to be loaded by sessions."),
        (name = "Files of sessions", description = "Downloads and uploads of a live session."),
        (name = "Operation", description = "Draining, leaks and organizations. Needs an operator key."),
        (name = "Runs", description = "Runs of workflows: start, state, timeline, end."),
        (name = "Viewers", description = "Tickets for people and programs, and the viewers that are connected."),
        (name = "Webhooks", description = "Deliveries of events to your server, with their log."),
        (name = "Workflows", description = "Definitions of workflows, in versions."),
    ),
    paths(
        extensions::upload,
        extensions::list,
        extensions::show,
        extensions::delete,
        sessions::create::create,
        sessions::list::list,
        sessions::list::history,
        sessions::show::show,
        sessions::close::close,
        sessions::begin::begin,
        sessions::heartbeat::heartbeat,
        sessions::release::release,
        devtools::discovery::version,
        devtools::discovery::list,
        devtools::discovery::protocol,
        devtools::discovery::open,
        devtools::discovery::close,
        devtools::discovery::activate,
        devtools::port::open,
        sessions::sanitize::sanitize,
        sessions::rotate::rotate,
        sessions::extend::extend,
        sessions::screenshot::screenshot,
        sessions::storage_state::show,
        sessions::storage_state::put,
        agent::said,
        explain::session,
        explain::run,
        metrics::show,
        sessions::renew::renew,
        sessions::renew::change,
        egress::check::check,
        egress::organization::show,
        egress::organization::change,
        events::of_organization,
        events::of_session,
        sessions::native::native,
        sessions::viewers::invite,
        sessions::viewers::list,
        sessions::viewers::kick,
        sessions::viewers::revoke_all,
        ui_session::open,
        quotas::resource::own,
        api_keys::create,
        api_keys::list,
        api_keys::show,
        api_keys::end,
        api_keys::renew,
        sessions::recordings::start,
        sessions::recordings::stop,
        sessions::recordings::list,
        sessions::recordings::artifacts,
        sessions::files::list,
        sessions::files::upload::upload,
        sessions::files::archive::archive,
        sessions::files::fetch::fetch,
        sessions::files::change::rename,
        sessions::files::change::delete,
        webhooks::endpoints::create,
        webhooks::endpoints::list,
        webhooks::endpoints::show,
        webhooks::endpoints::change,
        webhooks::endpoints::rotate,
        webhooks::endpoints::remove,
        webhooks::log::of_webhook,
        webhooks::log::of_run,
        webhooks::log::show,
        webhooks::log::replay,
        runs::retry_webhook::retry_webhook,
        runs::list::runs_of_session,
        workflows::create::create,
        workflows::create::update,
        workflows::list::list,
        workflows::show::show,
        workflows::show::versions,
        workflows::delete::delete,
        runs::start::start,
        runs::start::start_blocks,
        runs::list::runs,
        runs::show::show,
        runs::cancel::cancel,
        runs::cancel::cancel_several,
        runs::timeline::timeline,
        runs::artifacts::artifacts,
        runs::list::workflow_runs,
        runs::list::runs_of_workflow,
        runs::show::show_with_workflow,
        runs::resume::resume,
        runs::retry::retry,
        browser_profiles::endpoints::create,
        browser_profiles::endpoints::list,
        browser_profiles::endpoints::show,
        browser_profiles::endpoints::change,
        browser_profiles::endpoints::remove,
        browser_profiles::endpoints::usage,
        browser_profiles::endpoints::reset,
        browser_profiles::storage_state::show,
        browser_profiles::storage_state::put,
        browser_profiles::versions::store,
        browser_profiles::versions::list,
        browser_profiles::versions::roll_back,
        browser_profiles::versions::remove,
        artifacts::show,
        artifacts::content,
        artifacts::sign,
        debug_sessions::show::show,
        debug_sessions::renew::renew,
        debug_sessions::close::close,
        debug_sessions::block_outputs::block_outputs,
        debug_sessions::runs::runs,
        admin::messages::list,
        admin::messages::stream,
        admin::messages::show,
        admin::messages::actors,
        admin::audit::list,
        admin::config::show,
        admin::nodes::list,
        admin::pressure::show,
        admin::leaks::show,
        admin::leaks::fix,
        admin::profiles::begin,
        admin::drain::begin,
        admin::drain::show,
        admin::pool::show,
        admin::pool::put,
        admin::pool::delete,
        admin::drain::end,
        admin::organizations::create,
        admin::organizations::list,
        admin::organizations::show,
        admin::organizations::change,
        admin::deletion::delete,
        admin::organizations::make_key,
        admin::organizations::list_keys,
        admin::organizations::revoke_key,
        admin::organizations::rotate_key,
    ),
    components(schemas(answers::Body)),
    modifiers(&Credentials, &Problems, &Names, &Twins),
)]
struct Description;

/// Adds the security scheme: a key in a header.
struct Credentials;

impl Modify for Credentials {
    fn modify(&self, api: &mut OpenApi) {
        let value = ApiKeyValue::with_description("x-api-key", "A key of your organization");
        let scheme = SecurityScheme::ApiKey(ApiKey::Header(value));
        let components = api.components.get_or_insert_with(Components::default);
        components.security_schemes.insert(KEY.to_owned(), scheme.into());
        api.security = Some(vec![SecurityRequirement::new::<_, [&str; 0], &str>(KEY, [])]);
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let PathItem { get, put, post, delete, patch, .. } = item;
    let all = [("get", get), ("put", put), ("post", post), ("delete", delete), ("patch", patch)];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// Returns a unique id for the operation, such as `post_v1_run_workflows`.
fn name(method: &str, path: &str) -> String {
    let words = path.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    format!("{method}_{}", words.join("_").replace('-', "_"))
}

/// Gives each operation a unique id: handlers of different modules may share a name.
struct Names;

impl Modify for Names {
    fn modify(&self, api: &mut OpenApi) {
        for (path, item) in &mut api.paths.paths {
            for (method, operation) in operations(item) {
                operation.operation_id = Some(name(method, path));
            }
        }
    }
}

/// Adds the routes under `agents`, the compatible API's other name for workflows.
struct Twins;

impl Modify for Twins {
    fn modify(&self, api: &mut OpenApi) {
        let has_twin = |path: &String| path.split('/').any(|part| part == "workflows");
        let paths: Vec<_> = api.paths.paths.keys().filter(|path| has_twin(path)).cloned().collect();
        for path in paths {
            let Some(mut item) = api.paths.paths.get(&path).cloned() else { continue };
            let parts =
                path.split('/').map(|part| if part == "workflows" { "agents" } else { part });
            let twin = parts.collect::<Vec<_>>().join("/");
            for (method, operation) in operations(&mut item) {
                operation.operation_id = Some(name(method, &twin));
            }
            api.paths.paths.insert(twin, item);
        }
    }
}

/// Returns the description of the API.
pub fn description() -> OpenApi {
    Description::openapi()
}

pub fn routes(config: &mut ServiceConfig) {
    config.route("/openapi.json", get().to(openapi));
}

/// Returns the description as it is served, with the bounds from the settings.
fn text(bounds: Bounds) -> String {
    let mut described = serde_json::to_value(description()).unwrap_or_default();
    ranges::write_out(&mut described);
    parameters::add(&mut described);
    rules::add(&mut described, bounds);
    described.to_string()
}

/// `GET /openapi.json`: serves the description, without a key.
async fn openapi(front: Data<Front>) -> HttpResponse {
    static LATEST: Mutex<Option<(Bounds, Bytes)>> = Mutex::new(None);
    let bounds = Bounds::from(&front.world.settings);
    let mut latest = LATEST.lock();
    let body = match &*latest {
        Some((known, body)) if *known == bounds => body.clone(),
        Some(_) | None => {
            let body = Bytes::from(text(bounds));
            *latest = Some((bounds, body.clone()));
            body
        }
    };
    HttpResponse::Ok().content_type("application/json").body(body)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_workflow_route_has_a_twin_and_every_operation_a_name_of_its_own() {
        let mut api = description();
        let paths: Vec<String> = api.paths.paths.keys().cloned().collect();
        for path in paths.iter().filter(|path| path.contains("/workflows")) {
            assert!(paths.contains(&path.replace("/workflows", "/agents")), "{path}");
        }
        let mut names = BTreeSet::new();
        let mut count = 0;
        for item in api.paths.paths.values_mut() {
            for (_, operation) in operations(item) {
                count += 1;
                names.insert(operation.operation_id.clone());
            }
        }
        assert_eq!(names.len(), count);
        assert!(paths.contains(&"/v1/run/agents".to_owned()));
    }

    #[test]
    fn every_schema_that_is_referred_to_is_there() {
        let text = serde_json::to_string(&description()).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let known = value["components"]["schemas"].as_object().unwrap();
        for part in text.split("#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(known.contains_key(name), "{name} is not described");
        }
    }
}

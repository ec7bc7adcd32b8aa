//! Resources: what hosts read of a browser without a tool, by URIs with a handle.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rmcp::model::{ResourceContents, ResourceTemplate};
use serde_json::json;

use super::call::Call;
use super::{catalog, params};
use crate::db;
use crate::domain::event::Event;
use crate::http::error::ApiError;
use crate::http::problem::Problem;
use crate::service::resources::event::EventResource;

/// The resources of a browser: the last part of the URI, the media type, the tool that reads it.
const RESOURCES: [(&str, &str, &str); 5] = [
    (EVENTS, "application/json", "The latest events of the session"),
    ("screenshot", "image/jpeg", "The page as a picture"),
    ("snapshot", "text/plain", "The page as an accessibility tree"),
    ("console", "text/plain", "Console messages of the pages"),
    ("network", "text/plain", "Requests of the pages"),
];

/// The name of the resource that no tool reads.
const EVENTS: &str = "events";

/// The most events of a session in its resource.
const MOST_EVENTS: usize = 200;

/// The events that one query reads, and the most queries for one answer.
const EVENTS_PAGE: u32 = 500;
const MOST_PAGES: u32 = 20;

/// Returns the templates of all resources.
pub(super) fn templates() -> Vec<ResourceTemplate> {
    let of = |(name, media_type, description): (&str, &str, &str)| {
        ResourceTemplate::new(format!("greenroom://{{browser}}/{name}"), name)
            .with_description(description)
            .with_mime_type(media_type)
    };
    RESOURCES.into_iter().map(of).collect()
}

/// Reads a resource by its URI, `greenroom://HANDLE/NAME`.
pub(super) async fn read(call: &Call, uri: &str) -> Result<Vec<ResourceContents>, ApiError> {
    let unknown = || {
        let detail =
            format!("`{uri}` is not a resource: see the templates, `greenroom://HANDLE/snapshot`");
        Problem::new(actix_web::http::StatusCode::NOT_FOUND, "resource_unknown", detail)
    };
    let named = uri.strip_prefix("greenroom://").and_then(|rest| rest.split_once('/'));
    let (browser, name) = named.ok_or_else(unknown)?;
    RESOURCES.iter().find(|(known, ..)| *known == name).ok_or_else(unknown)?;
    if name == EVENTS {
        return Ok(vec![ResourceContents::text(events(call, browser).await?, uri)]);
    }
    let tool = catalog::find(&call.client, name).ok_or_else(unknown)?;
    let read = tool.run(call.clone(), json!({ "browser": browser })).await?;
    let (text, pictures) = read.into_parts();
    if let Some((bytes, media_type)) = pictures.into_iter().next() {
        let blob = ResourceContents::blob(STANDARD.encode(bytes), uri).with_mime_type(media_type);
        return Ok(vec![blob]);
    }
    Ok(vec![ResourceContents::text(text, uri)])
}

/// Returns the latest events of the session, as JSON.
async fn events(call: &Call, browser: &str) -> Result<String, ApiError> {
    let handle = params::handle(browser)?;
    call.keyholder(handle.session)?;
    let occupancy = call.occupancy(&handle).await?;
    call.renew(&occupancy).await?;
    let (front, organization) = (call.front(), call.client.organization);
    let session = Some(handle.session);
    let mut latest: Vec<Event> = Vec::new();
    for _page in 0..MOST_PAGES {
        let after = latest.last().map_or(0, |event| event.seq);
        let next = db::events::after(&front.db, organization, session, after, EVENTS_PAGE).await?;
        if next.is_empty() {
            break;
        }
        latest.extend(next);
        let old = latest.len().saturating_sub(MOST_EVENTS);
        latest.drain(..old);
    }
    let shown: Vec<EventResource> = latest.iter().map(EventResource::from).collect();
    Ok(json!(shown).to_string())
}

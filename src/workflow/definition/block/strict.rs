//! Rules that a new block must keep so that its execution is possible at all.
//!
//! Stored blocks are not checked again: a block that an older version accepted fails when it is
//! executed, as before. Values with templates are not known yet and pass.

use serde_json::{Map, Value};
use url::Url;

use super::{HttpRequest, Kind, Misfit, is_framing};
use crate::domain::ids::WorkflowPermanentId;
use crate::workflow::definition::PathPart;
use crate::workflow::definition::extract::Field;
use crate::workflow::definition::parameter::is_identifier;
use crate::workflow::page::keys;
use crate::workflow::template::is_template;

/// Returns every field for which the execution of the block would always fail.
pub fn check(kind: &Kind, raw: &Map<String, Value>) -> Vec<Misfit> {
    match kind {
        Kind::HttpRequest(request) => http_request(request, raw),
        Kind::GotoUrl(block) => url_of_page("url", &block.url).into_iter().collect(),
        Kind::FileDownload(block) => {
            block.url.iter().filter_map(|url| url_of_page("url", url)).collect()
        }
        Kind::Click(block) => {
            let unknown = block
                .modifiers
                .iter()
                .filter(|name| !is_template(name) && keys::modifier(name).is_none());
            let unknown = unknown.map(|name| {
                let message =
                    format!("there is no modifier `{name}`: use Shift, Control, Alt or Meta");
                Misfit::field("modifiers", "modifier_unknown", message)
            });
            let none = (block.click_count == 0)
                .then(|| Misfit::field("click_count", "out_of_range", "expected at least 1"));
            unknown.chain(none).collect()
        }
        Kind::Select(block) => missing("values", block.values.is_empty()),
        Kind::Press(block) => missing("key", block.key.is_empty()),
        Kind::Upload(block) => {
            let mut faults = missing("files", block.files.is_empty());
            for (index, file) in block.files.iter().enumerate() {
                let place = |field: &str| vec!["files".into(), index.into(), PathPart::from(field)];
                if let Some(text) = file.base64.as_deref().filter(|text| !is_template(text)) {
                    use base64::Engine as _;
                    use base64::engine::general_purpose::STANDARD;
                    if let Err(error) = STANDARD.decode(text.trim()) {
                        let message = format!("it is not base64: {error}");
                        faults.push(Misfit {
                            path: place("base64"),
                            code: "base64_invalid",
                            message,
                        });
                    }
                }
                if let Some(fault) = file.url.as_deref().and_then(|url| web_url(url, true)) {
                    faults.push(Misfit { path: place("url"), ..fault });
                }
            }
            faults
        }
        Kind::FileUrlParser(block) => web_url(&block.file_url, true)
            .map(|fault| Misfit { path: vec!["file_url".into()], ..fault })
            .into_iter()
            .collect(),
        Kind::Assert(block) => {
            let condition = block.condition.as_ref().filter(|condition| !condition.is_null());
            let text =
                condition.and_then(|it| it.as_str().or_else(|| it.get("expression")?.as_str()));
            let fits = condition.is_none() || text.is_some_and(is_template);
            let message = "a condition is a template: {{ … }}";
            if fits {
                Vec::new()
            } else {
                vec![Misfit::field("condition", "template_missing", message)]
            }
        }
        Kind::Extract(block) => {
            let mut faults = Vec::new();
            for (name, field) in &block.fields {
                types(field, &["fields".into(), name.as_str().into()], &mut faults);
            }
            faults
        }
        Kind::WorkflowTrigger(block) => {
            let id = block.workflow_permanent_id.trim();
            let known = is_template(id) || id.parse::<WorkflowPermanentId>().is_ok();
            let message = format!("`{id}` is not the id of a workflow: it begins with `wpid_`");
            if known {
                Vec::new()
            } else {
                vec![Misfit::field("workflow_permanent_id", "id_invalid", message)]
            }
        }
        Kind::SendEmail(block) => missing("recipients", block.recipients.is_empty()),
        Kind::Wait(_)
        | Kind::Fill(_)
        | Kind::Hover(_)
        | Kind::Scroll(_)
        | Kind::WaitFor(_)
        | Kind::Script(_)
        | Kind::Screenshot(_)
        | Kind::Cookies(_)
        | Kind::ForLoop(_)
        | Kind::WhileLoop(_)
        | Kind::Conditional(_)
        | Kind::PrintPage(_)
        | Kind::Code(_)
        | Kind::HumanInteraction(_)
        | Kind::Agent
        | Kind::Elsewhere => Vec::new(),
    }
}

fn missing(field: &str, empty: bool) -> Vec<Misfit> {
    let fault = || Misfit::field(field, "missing", "expected at least one");
    empty.then(fault).into_iter().collect()
}

/// Returns the text if its value is known now: no template, and no name of a parameter.
fn literal(text: &str) -> Option<&str> {
    Some(text.trim()).filter(|text| !is_template(text) && !is_identifier(text))
}

fn url_of_page(field: &str, text: &str) -> Option<Misfit> {
    let text = literal(text)?;
    let refused = |code, message: String| Some(Misfit::field(field, code, message));
    let bare = !text.contains("://")
        && !["about:", "data:", "blob:"].iter().any(|scheme| text.starts_with(scheme));
    let whole = if bare { format!("https://{text}") } else { text.to_owned() };
    match Url::parse(&whole) {
        Err(error) => refused("url_invalid", format!("`{text}` is not a URL: {error}")),
        Ok(url) if ["http", "https", "about", "data", "blob"].contains(&url.scheme()) => None,
        Ok(_url) => refused("url_refused", format!("`{text}` cannot be opened: use http or https")),
    }
}

fn web_url(text: &str, data: bool) -> Option<Misfit> {
    let text = literal(text)?;
    let refused = |code, message: String| Some(Misfit { path: Vec::new(), code, message });
    match Url::parse(text) {
        Err(error) => refused("url_invalid", format!("`{text}` is not a URL: {error}")),
        Ok(url) if data && url.scheme() == "data" => None,
        Ok(url) if !matches!(url.scheme(), "http" | "https") => {
            refused("url_refused", format!("the scheme `{}` is not allowed", url.scheme()))
        }
        Ok(url) if !url.username().is_empty() || url.password().is_some() => {
            let message = "credentials in a URL are not allowed; use a header".to_owned();
            refused("url_refused", message)
        }
        Ok(_url) => None,
    }
}

fn http_request(request: &HttpRequest, raw: &Map<String, Value>) -> Vec<Misfit> {
    let mut faults = Vec::new();
    let mut note = |field, code, message: &str| faults.push(Misfit::field(field, code, message));
    let url = request.url.as_deref().unwrap_or_default().trim();
    let curl = raw.get("curl_command").and_then(Value::as_str).unwrap_or_default().trim();
    if !curl.is_empty() {
        let message = "curl commands are not supported: give `method`, `url`, `headers` and `body`";
        note("curl_command", "field_not_supported", message);
    } else if url.is_empty() {
        note("url", "missing", "the field is required");
    }
    if request.files.as_ref().is_some_and(|files| !files.is_empty()) {
        note("files", "field_not_supported", "this server does not send files");
    }
    let method = request.method.trim();
    if !is_template(method) && reqwest::Method::from_bytes(method.as_bytes()).is_err() {
        note("method", "method_invalid", "expected the name of an HTTP method");
    }
    if !url.is_empty()
        && let Some(fault) = web_url(url, false)
    {
        note("url", fault.code, &fault.message);
    }
    for (name, value) in request.headers.iter().flatten() {
        let at = || vec![PathPart::from("headers"), name.as_str().into()];
        let mut refuse = |code, message| faults.push(Misfit { path: at(), code, message });
        if is_framing(name) {
            let message = format!("the header `{name}` is set by the server itself");
            refuse("header_refused", message);
        } else if reqwest::header::HeaderName::from_bytes(name.as_bytes()).is_err() {
            refuse("header_invalid", format!("`{name}` is not the name of a header"));
        } else if !is_template(value) && reqwest::header::HeaderValue::from_str(value).is_err() {
            let message = format!("the header `{name}` has characters that a header must not have");
            refuse("header_invalid", message);
        }
    }
    faults
}

/// Checks the types to which values of the page are converted.
fn types(field: &Field, path: &[PathPart], faults: &mut Vec<Misfit>) {
    let known = ["string", "number", "integer", "boolean"];
    if let Some(name) = field.value_type.as_deref().filter(|name| !known.contains(name)) {
        let path = path.iter().cloned().chain([PathPart::from("type")]).collect();
        let message = format!("there is no type `{name}`: use {}", known.join(", "));
        faults.push(Misfit { path, code: "type_unknown", message });
    }
    for (name, inner) in field.fields.iter().flatten() {
        let path: Vec<_> =
            path.iter().cloned().chain([PathPart::from("fields"), name.as_str().into()]).collect();
        types(inner, &path, faults);
    }
}

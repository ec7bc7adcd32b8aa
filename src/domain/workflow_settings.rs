//! The settings that a workflow stores for its runs. They were checked when the workflow was stored.

use std::time::Duration;

use serde_json::Value;
use url::Url;

use super::egress::EgressLists;

/// The time by which a session that a run makes for itself outlives the run's limit, so that the limit
/// ends the run, not the session's lifetime.
const SESSION_MARGIN: Duration = Duration::from_secs(5 * 60);

/// The time limit of a run: the minutes of its request, those of its workflow's settings, or `usual`, in
/// this order.
pub fn run_limit(asked_minutes: Option<u64>, settings: &Value, usual: Duration) -> Duration {
    let of_workflow = || settings.get("max_elapsed_time_minutes").and_then(Value::as_u64);
    let minutes = asked_minutes.or_else(of_workflow);
    minutes.map_or(usual, |minutes| Duration::from_secs(minutes.saturating_mul(60)))
}

/// The lifetime of a session that a run with this limit makes for itself.
pub fn own_session_lifetime(run_limit: Duration) -> Duration {
    run_limit.saturating_add(SESSION_MARGIN)
}

/// The URL that the end of a run is reported to, unless the request names another one.
pub fn webhook_url(settings: &Value) -> Option<&str> {
    settings.get("webhook_callback_url").and_then(Value::as_str)
}

/// The name of a workflow, unique among those of its organization.
pub fn name(settings: &Value) -> Option<&str> {
    settings.get("name").and_then(Value::as_str)
}

/// The tags of a workflow.
pub fn tags(settings: &Value) -> Vec<&str> {
    let tags = settings.get("tags").and_then(Value::as_array);
    tags.into_iter().flatten().filter_map(Value::as_str).collect()
}

/// True if a workflow's settings have the session of a run sanitized once the run has ended, unless the run
/// made the session and closes it.
pub fn sanitizes(settings: &Value) -> bool {
    settings.get("sanitize_on_finish") == Some(&Value::Bool(true))
}

/// The profile that a workflow's settings name for the sessions of its runs.
pub fn profile_id(settings: &Value) -> Option<&str> {
    let id = settings.get("browser_profile_id").and_then(Value::as_str);
    id.filter(|id| !id.is_empty())
}

/// The key of the profile that the server keeps for the runs of a workflow with
/// `persist_browser_session`; none if it keeps none. The key is empty unless the workflow has a
/// `browser_profile_key`.
pub fn persists(settings: &Value) -> Option<&str> {
    let persists = settings.get("persist_browser_session") == Some(&Value::Bool(true));
    let key = settings.get("browser_profile_key").and_then(Value::as_str);
    persists.then(|| key.unwrap_or_default())
}

/// The lists and the proxy that a workflow's settings name for the sessions of its runs: `egress`, and
/// `proxy_location` where that names no proxy.
pub fn egress_of(settings: &Value) -> (EgressLists, Option<Url>) {
    let egress = settings.get("egress");
    let list = |name: &str| {
        let rules = egress.and_then(|egress| egress.get(name)).and_then(Value::as_array);
        let rules = rules.into_iter().flatten();
        rules.filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    let lists = EgressLists { allow: list("allow"), deny: list("deny") };
    let location = settings.get("proxy_location").and_then(|place| place.get("url"));
    let upstream = egress.and_then(|egress| egress.get("upstream")).filter(|it| !it.is_null());
    let url = upstream.or(location).and_then(Value::as_str);
    (lists, url.and_then(|url| Url::parse(url).ok()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_workflow_names_lists_and_a_proxy_for_the_sessions_of_its_runs() {
        let url = |text: &str| Url::parse(text).ok();
        assert_eq!(egress_of(&json!({})), (EgressLists::default(), None));
        let place = json!({ "proxy_location": { "url": "http://proxy:1" } });
        assert_eq!(egress_of(&place).1, url("http://proxy:1"));
        let (lists, upstream) = egress_of(&json!({
            "proxy_location": null,
            "egress": { "allow": ["a.example"], "deny": null, "upstream": "http://u:p@proxy:1" },
        }));
        assert_eq!((lists.allow, lists.deny), (vec!["a.example".to_owned()], vec![]));
        assert_eq!(upstream, url("http://u:p@proxy:1"));
    }

    #[test]
    fn the_limit_of_a_run_is_that_of_its_request_its_workflow_or_the_server() {
        let (settings, usual) = (json!({ "max_elapsed_time_minutes": 2 }), Duration::from_secs(7));
        assert_eq!(run_limit(Some(1), &settings, usual), Duration::from_secs(60));
        assert_eq!(run_limit(None, &settings, usual), Duration::from_secs(120));
        assert_eq!(run_limit(None, &json!({}), usual), usual);
        assert_eq!(own_session_lifetime(usual), Duration::from_secs(307));
    }

    #[test]
    fn the_webhook_of_a_workflow_is_a_text() {
        let settings = json!({ "webhook_callback_url": "http://a.example/" });
        assert_eq!(webhook_url(&settings), Some("http://a.example/"));
        assert_eq!(webhook_url(&json!({ "webhook_callback_url": null })), None);
    }
}

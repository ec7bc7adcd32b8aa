//! What the compatible API has and this server does not: a clear refusal, where an unknown route
//! would leave a client to guess.

use actix_web::http::StatusCode;

use super::problem::Problem;

/// Of tasks, under their several names.
const TASKS: &str = "this server has no model of its own: run a workflow; its blocks that need a \
                     model are handed to the agent endpoint, if one is configured";

/// The beginnings of paths, below the prefix of the API, and what to do instead.
const ABSENT: &[(&str, &str)] = &[
    ("run/tasks", TASKS),
    ("tasks", TASKS),
    ("cruise", TASKS),
    (
        "sdk/run_action",
        "this server has no model of its own: drive the page with Playwright over \
         `browser_address`, or run a workflow",
    ),
    (
        "browser_profiles",
        "profiles are not kept: a session has one of its own for as long as it lives",
    ),
    ("credentials", "credentials are not kept: give them to a run as parameters"),
    ("scripts", "scripts are not made from runs: write a workflow"),
    ("schedules", "runs are not scheduled: start them when they are due"),
    ("custom-llms", "this server has no model of its own"),
    ("folders", "workflows have no folders: find them by `search_key`"),
    ("tag-keys", "there are no tags: give a run `run_metadata`"),
    ("tag-values", "there are no tags: give a run `run_metadata`"),
    ("run-tags", "there are no tags: give a run `run_metadata`"),
    ("workflow-tags", "workflows have no tags: find them by `search_key`"),
    ("upload_file", "files are not kept: a workflow's `upload` block takes a URL"),
];

/// The refusal, if this is a route of the compatible API that is not here.
pub fn refusal(path: &str) -> Option<Problem> {
    let rest = ["/v1/", "/api/v1/", "/api/v2/"].iter().find_map(|it| path.strip_prefix(it))?;
    let begins = |name: &str| {
        rest.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let (_, instead) = ABSENT.iter().find(|(name, _)| begins(name))?;
    Some(Problem::new(StatusCode::NOT_IMPLEMENTED, "not_supported", *instead))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_of_the_compatible_api_that_are_not_here_say_what_to_do_instead() {
        let said = |path: &str| refusal(path).map(|problem| problem.to_string());
        assert!(said("/v1/run/tasks").unwrap().contains("agent endpoint"));
        assert!(said("/v1/run/tasks/login").is_some());
        assert!(said("/v1/browser_profiles/bp_1").is_some());
        assert_eq!(said("/v1/run/tasksx"), None);
        assert_eq!(said("/v1/nothing"), None);
        assert_eq!(said("/tasks"), None);
    }
}

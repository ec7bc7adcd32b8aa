//! The methods that a path accepts, from the description of the API.

use std::sync::OnceLock;

use super::{description, operations};

/// The parts of a described path, and its methods in capitals.
type Entry = (Vec<String>, Vec<String>);

/// Returns the methods of the path, such as `GET, PATCH`; `None` for a path that is not described.
pub fn methods(path: &str) -> Option<String> {
    static PATHS: OnceLock<Vec<Entry>> = OnceLock::new();
    let entries = PATHS.get_or_init(entries);
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let fits = |pattern: &[String]| {
        pattern.len() == parts.len()
            && pattern.iter().zip(&parts).all(|(one, part)| is_wild(one) || one == part)
    };
    let described = entries.iter().filter(|(pattern, _)| fits(pattern));
    // The most specific pattern wins: `/history` before `/{id}`.
    let (_, methods) =
        described.min_by_key(|(pattern, _)| pattern.iter().filter(|part| is_wild(part)).count())?;
    Some(methods.join(", "))
}

fn is_wild(part: &str) -> bool {
    part.starts_with('{')
}

fn entries() -> Vec<Entry> {
    let mut api = description();
    let entry = |(path, item): (&String, &mut _)| {
        let parts = path.trim_matches('/').split('/').map(str::to_owned).collect();
        let methods = operations(item).map(|(method, _)| method.to_ascii_uppercase()).collect();
        (parts, methods)
    };
    api.paths.paths.iter_mut().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_answers_the_methods_that_are_described() {
        assert_eq!(methods("/v1/browser_sessions/pbs_1").unwrap(), "GET, PATCH");
        assert_eq!(methods("/v1/browser_sessions/history").unwrap(), "GET");
        assert_eq!(methods("/v1/agents/runs").unwrap(), "GET");
        assert_eq!(methods("/v1/nothing"), None);
    }
}

//! A list of checks with the result of each, as a table or as JSON.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::Ending;
use super::output::{Table, say, say_json};

/// The result of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The requirement is met.
    Ok,
    /// Greenroom works, but not as well as it could.
    Warn,
    /// Greenroom does not work without it.
    Missing,
    /// Greenroom refuses to start with it.
    Refused,
}

impl State {
    /// Returns true if Greenroom cannot work.
    fn fails(self) -> bool {
        match self {
            Self::Ok | Self::Warn => false,
            Self::Missing | Self::Refused => true,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Missing => "MISSING",
            Self::Refused => "REFUSED",
        }
    }
}

/// A requirement that was checked, with the result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The name of the requirement.
    pub name: String,
    /// The result of the check.
    pub state: State,
    /// The finding: a version, a path, or an error.
    pub detail: String,
    /// A hint that says how to meet the requirement.
    pub hint: Option<String>,
}

/// Prints the checks, as JSON with further members of the answer. The command fails if a check does.
pub(super) fn report(checks: &[Check], further: &[(&str, Value)], as_json: bool) -> Ending {
    let ok = !checks.iter().any(|check| check.state.fails());
    if as_json {
        let further = further.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        let mut answer = Map::from_iter([("ok".to_owned(), json!(ok))]);
        answer.insert("checks".to_owned(), json!(checks));
        answer.extend(further);
        say_json(&Value::Object(answer));
    } else {
        table(checks).print();
        let hints = checks.iter().filter(|check| check.state != State::Ok);
        for (name, hint) in hints.filter_map(|check| Some((&check.name, check.hint.as_ref()?))) {
            say(format_args!("\n{name}: {hint}"));
        }
    }
    if ok { Ending::Done } else { Ending::Failed }
}

fn table(checks: &[Check]) -> Table {
    let mut table = Table::new(&["CHECK", "STATE", "FOUND"]);
    for check in checks {
        let first_line = check.detail.lines().next().unwrap_or_default().to_owned();
        table.row([check.name.clone(), check.state.word().to_owned(), first_line]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(state: State) -> Check {
        Check { name: "Xvfb".into(), state, detail: "x".into(), hint: Some("install it".into()) }
    }

    #[test]
    fn only_what_is_missing_or_refused_fails() {
        assert_eq!(report(&[check(State::Ok), check(State::Warn)], &[], true), Ending::Done);
        for state in [State::Missing, State::Refused] {
            assert_eq!(report(&[check(State::Ok), check(state)], &[], true), Ending::Failed);
        }
    }
}

//! Settings of the rules: whether they are in force, and the commands that are exempt.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A command, `Domain.method`, or every command of a domain, `Domain.*`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CommandPattern {
    domain: String,
    /// The name of the method; `None` for all of the domain.
    method: Option<String>,
}

impl CommandPattern {
    fn matches(&self, command: &str) -> bool {
        command.split_once('.').is_some_and(|(domain, method)| {
            domain == self.domain && self.method.as_deref().is_none_or(|own| own == method)
        })
    }
}

/// A text that does not parse as a pattern of commands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a DevTools command; expected a command such as Tracing.start, or Tracing.* for all"
)]
pub struct NoPattern(String);

impl FromStr for CommandPattern {
    type Err = NoPattern;

    fn from_str(text: &str) -> Result<Self, NoPattern> {
        let is_name =
            |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric());
        match text.split_once('.') {
            Some((domain, method)) if is_name(domain) && (method == "*" || is_name(method)) => {
                let method = (method != "*").then(|| method.to_owned());
                Ok(Self { domain: domain.to_owned(), method })
            }
            Some(_) | None => Err(NoPattern(text.to_owned())),
        }
    }
}

impl TryFrom<String> for CommandPattern {
    type Error = NoPattern;

    fn try_from(text: String) -> Result<Self, NoPattern> {
        text.parse()
    }
}

impl From<CommandPattern> for String {
    fn from(pattern: CommandPattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for CommandPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.domain, self.method.as_deref().unwrap_or("*"))
    }
}

/// The operator's rules for drivers' commands.
#[derive(Debug, Clone)]
pub struct Rules {
    hold: bool,
    allowed: Arc<[CommandPattern]>,
}

impl Rules {
    /// Makes rules that are in force if `hold`, except for the `allowed` commands.
    pub fn new(hold: bool, allowed: &[CommandPattern]) -> Self {
        Self { hold, allowed: allowed.into() }
    }

    /// True if the rules are in force; else every command passes.
    pub(in crate::live::devtools) fn hold(&self) -> bool {
        self.hold
    }

    /// Returns true if the operator allows this command unchanged.
    pub(super) fn allow(&self, command: &str) -> bool {
        self.allowed.iter().any(|pattern| pattern.matches(command))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_command_or_a_domain_and_nothing_else() {
        let pattern = |text: &str| text.parse::<CommandPattern>();
        let rules =
            Rules::new(true, &[pattern("Tracing.*").unwrap(), pattern("PWA.launch").unwrap()]);
        for (command, allowed) in [
            ("Tracing.start", true),
            ("PWA.launch", true),
            ("PWA.install", false),
            ("TracingX.start", false),
            ("Tracing", false),
        ] {
            assert_eq!(rules.allow(command), allowed, "{command}");
        }
        for text in
            ["", "*", "*.*", "Tracing", "Tracing.", ".start", "Tracing.st*", "Page.a.b", "Pa ge.x"]
        {
            assert!(pattern(text).is_err(), "{text}");
        }
        assert_eq!(pattern("Tracing.*").unwrap().to_string(), "Tracing.*");
    }
}

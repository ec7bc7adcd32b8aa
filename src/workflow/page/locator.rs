//! Locators: the notation that selects elements of a page, as users of Playwright write it.
//!
//! ```text
//! button.primary          css, the default          css=button.primary
//! text=Sign in            a part of the text        text="Sign in", "Sign in"   the whole text
//! role=button[name="OK"]  an ARIA role              label=Email, placeholder=…, alt=…, title=…
//! testid=submit           the attribute data-testid xpath=//td[2], //td[2]
//! nth=1                   the second of those       form >> role=button   one within the other
//! ref=e12                 an element of a snapshot, as the first step; not in workflows
//! ```

use serde::Serialize;

/// A chain of steps. Each step searches within the elements that the previous one found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Locator {
    steps: Vec<Step>,
}

/// One step of a locator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The name of the engine: `css`, `text`, `role`, …
    pub engine: &'static str,
    /// The expression that the engine evaluates.
    pub body: String,
    /// True if the whole text must be equal, for engines that compare texts.
    pub exact: bool,
    /// Conditions of a role, such as `name`, `checked`, `level`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// A condition on an element found by its role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// The attribute compared, as in `name`.
    pub name: String,
    /// The value that the attribute must have.
    pub value: String,
    /// True if the whole value must be equal.
    pub exact: bool,
}

/// The error for a text that is not a locator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a selector: {reason}")]
pub struct NotALocator {
    /// The step that is invalid.
    pub text: String,
    pub reason: &'static str,
}

const ENGINES: &[&str] = &[
    "css",
    "text",
    "role",
    "label",
    "placeholder",
    "alt",
    "title",
    "testid",
    "xpath",
    "nth",
    "id",
    "ref",
];
const CONDITIONS: &[&str] =
    &["name", "checked", "disabled", "expanded", "pressed", "selected", "level", "exact"];

impl Locator {
    /// Parses a chain of steps.
    pub fn parse(text: &str) -> Result<Self, NotALocator> {
        let steps = split(text).into_iter().map(step).collect::<Result<Vec<_>, _>>()?;
        if let Some(late) = steps.iter().skip(1).find(|step| step.engine == "ref") {
            let text = format!("ref={}", late.body);
            return Err(NotALocator { text, reason: "a reference can only be the first step" });
        }
        Ok(Self { steps })
    }

    /// Checks the chain of a workflow, which may contain templates; a text
    /// with templates is otherwise accepted unchecked.
    pub fn parse_template(text: &str) -> Result<(), NotALocator> {
        if text.trim_start().starts_with("ref=") {
            let reason = "a reference is valid only for the agent that took the snapshot";
            return Err(NotALocator { text: text.to_owned(), reason });
        }
        if text.contains("{{") || text.contains("{%") {
            return Ok(());
        }
        Self::parse(text).map(|_locator| ())
    }

    /// Returns the reference with which the chain begins, as in `e12`.
    pub(super) fn reference(&self) -> Option<&str> {
        let first = self.steps.first().filter(|step| step.engine == "ref");
        first.map(|step| step.body.as_str())
    }
}

/// Splits at `>>` outside of quotes and brackets.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut quote = None;
    let mut depth = 0_u32;
    let mut escaped = false;
    let mut before = None;
    for (at, letter) in text.char_indices() {
        if escaped {
            escaped = false;
            before = None;
            continue;
        }
        match (quote, letter) {
            (_, '\\') => escaped = true,
            (Some(open), _) if open == letter => quote = None,
            (Some(_), _) => (),
            (None, '"') => quote = Some(letter),
            (None, '\'') if depth > 0 => quote = Some(letter),
            (None, '[' | '(') => depth += 1,
            (None, ']' | ')') => depth = depth.saturating_sub(1),
            (None, '>') if before == Some('>') && depth == 0 => {
                parts.push(text.get(start..at.saturating_sub(1)).unwrap_or_default());
                start = at + 1;
            }
            (None, _) => (),
        }
        before = Some(letter);
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts
}

fn step(text: &str) -> Result<Step, NotALocator> {
    let text = text.trim();
    let refused = |reason| NotALocator { text: text.to_owned(), reason };
    if text.is_empty() {
        return Err(refused("it is empty"));
    }
    let plain = |engine, body: &str, exact| Step {
        engine,
        body: body.to_owned(),
        exact,
        conditions: Vec::new(),
    };
    if text.starts_with("//") || text.starts_with("..") {
        return Ok(plain("xpath", text, false));
    }
    if let Some(body) = quoted(text) {
        return Ok(plain("text", &body, true));
    }
    let prefix = text.split_once('=').filter(|(name, _body)| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-')
    });
    let Some((name, body)) = prefix else { return Ok(plain("css", text, false)) };
    let name = if name == "data-testid" { "testid" } else { name };
    let engine = ENGINES.iter().find(|engine| **engine == name);
    let Some(engine) = engine.copied() else { return Err(refused("its engine is unknown")) };
    let body = body.trim();
    if body.is_empty() {
        return Err(refused("nothing follows the engine"));
    }
    match engine {
        "role" => role(body).map_err(refused),
        "nth" if body.parse::<i64>().is_err() => Err(refused("expected a whole number")),
        "ref" if super::references::parse(body).is_none() => {
            Err(refused("expected a reference of a snapshot, such as `ref=e12`"))
        }
        "css" | "xpath" | "nth" | "ref" => Ok(plain(engine, body, false)),
        "testid" | "id" => {
            Ok(plain(engine, &quoted(body).unwrap_or_else(|| body.to_owned()), true))
        }
        _ => Ok(match quoted(body) {
            Some(inner) => plain(engine, &inner, true),
            None => plain(engine, body, false),
        }),
    }
}

/// Returns the text within quotes, if one pair of quotes encloses all of `text`.
fn quoted(text: &str) -> Option<String> {
    let quote = text.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    let inner = text.strip_prefix(quote)?.strip_suffix(quote)?;
    let mut result = String::with_capacity(inner.len());
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        if letter == quote {
            return None;
        }
        result.push(if letter == '\\' { letters.next()? } else { letter });
    }
    Some(result)
}

/// Parses a role, as in `button[name="OK"][checked=true]`.
fn role(body: &str) -> Result<Step, &'static str> {
    let (name, mut rest) = body.split_at(body.find('[').unwrap_or(body.len()));
    let name = name.trim();
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err("expected the name of a role");
    }
    let mut conditions = Vec::new();
    while let Some(inner) = rest.trim_start().strip_prefix('[') {
        let (condition, after) = condition(inner)?;
        if !CONDITIONS.contains(&condition.name.as_str()) {
            return Err("there is no such condition of a role");
        }
        conditions.push(condition);
        rest = after;
    }
    if !rest.trim().is_empty() {
        return Err("expected `[` or the end after a role");
    }
    Ok(Step { engine: "role", body: name.to_owned(), exact: false, conditions })
}

fn condition(text: &str) -> Result<(Condition, &str), &'static str> {
    let end = text.find(['=', ']']).ok_or("a `]` is missing")?;
    let (name, rest) = text.split_at(end);
    let name = name.trim().to_owned();
    if let Some(after) = rest.strip_prefix(']') {
        return Ok((Condition { name, value: "true".to_owned(), exact: true }, after));
    }
    let rest = rest.trim_start_matches('=').trim_start();
    let Some(quote) = rest.chars().next().filter(|quote| matches!(quote, '"' | '\'')) else {
        let (value, after) = rest.split_once(']').ok_or("a `]` is missing")?;
        let value = value.trim().to_owned();
        return Ok((Condition { name, value, exact: false }, after));
    };
    let mut escaped = false;
    let close = rest.char_indices().skip(1).find(|(_at, letter)| {
        let closes = *letter == quote && !escaped;
        escaped = *letter == '\\' && !escaped;
        closes
    });
    let (close, _letter) = close.ok_or("a quote is missing")?;
    let (value, after) = rest.split_at(close + quote.len_utf8());
    let value = quoted(value).ok_or("a quote is missing")?;
    let after = after.trim_start();
    let (exact, after) = match after.strip_prefix(['i', 's']) {
        Some(more) => (after.starts_with('s'), more),
        None => (false, after),
    };
    let after = after.trim_start().strip_prefix(']').ok_or("a `]` is missing")?;
    Ok((Condition { name, value, exact }, after))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let found = match Locator::parse(text) {
            Ok(locator) => locator
                .steps
                .iter()
                .map(|step| {
                    let exact = if step.exact { "!" } else { "" };
                    let conditions: String = step
                        .conditions
                        .iter()
                        .map(|is| {
                            format!("[{}={}{}]", is.name, is.value, if is.exact { "!" } else { "" })
                        })
                        .collect();
                    format!("{}{exact}<{}>{conditions}", step.engine, step.body)
                })
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => format!("refused: {}", error.reason),
        };
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn every_engine_is_read() {
        check("button.primary", "css<button.primary>");
        check("a[href='x=y']", "css<a[href='x=y']>");
        check("ul > li:nth-child(2)", "css<ul > li:nth-child(2)>");
        check("css=#a", "css<#a>");
        check("text=Sign in", "text<Sign in>");
        check("text=\"Sign >> in\"", "text!<Sign >> in>");
        check("'Sign in'", "text!<Sign in>");
        check("//td[2]", "xpath<//td[2]>");
        check("testid=submit", "testid!<submit>");
        check("data-testid=submit", "testid!<submit>");
        check("label=Email", "label<Email>");
        check("form >> role=button >> nth=-1", "css<form> role<button> nth<-1>");
        check("ref=e12 >> css=a", "ref<e12> css<a>");
    }

    #[test]
    fn roles_have_conditions() {
        check("role=button[name=\"OK\"]", "role<button>[name=OK]");
        check("role=button[name='O\\'K' s]", "role<button>[name=O'K!]");
        check("role=checkbox[checked]", "role<checkbox>[checked=true!]");
        check("role=heading[level=2][name=\"a]b\"]", "role<heading>[level=2][name=a]b]");
        check("role=button[size=2]", "refused: there is no such condition of a role");
        check("role=button[name=\"x]", "refused: a quote is missing");
        check("role=", "refused: nothing follows the engine");
    }

    #[test]
    fn what_is_no_locator_is_refused() {
        check("", "refused: it is empty");
        check("form >> ", "refused: it is empty");
        check("react=App", "refused: its engine is unknown");
        check("nth=first", "refused: expected a whole number");
        check("ref=12", "refused: expected a reference of a snapshot, such as `ref=e12`");
        check("form >> ref=e1", "refused: a reference can only be the first step");
    }

    #[test]
    fn workflows_hold_no_references() {
        for text in ["ref=e1", " ref=e{{ number }}", "ref=e1 >> css=a"] {
            let refused = Locator::parse_template(text).unwrap_err();
            assert!(refused.reason.contains("the agent that took the snapshot"), "{text}");
        }
        assert_eq!(Locator::parse_template("{{ selector }}"), Ok(()));
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in "[\\PC]{0,40}") {
            let _ = Locator::parse(&text);
        }

        #[test]
        fn a_chain_has_as_many_steps_as_were_joined(
            steps in prop::collection::vec("[a-z]{1,5}(\\.[a-z]{1,5})?", 1..5)
        ) {
            let locator = Locator::parse(&steps.join(" >> ")).unwrap();
            let bodies: Vec<_> = locator.steps.iter().map(|step| step.body.clone()).collect();
            prop_assert_eq!(bodies, steps);
        }
    }
}

//! Checks a template before the engine reads it: limits every form that recurses, and rewrites the
//! few forms that the engine lacks.
//!
//! The parser, the compiler and the values of the engine recurse: with every operator in a chain,
//! with every nested statement or `elif`, and with every value within a value. The engine limits
//! brackets and statements only. The scanner counts every form without recursion, and rejects a
//! template beyond [`DEEPEST`].
//!
//! It rewrites
//!
//! - `a % b`, which formats texts in Jinja2, to a filter;
//! - `{% set name = value %}`: the depth of the value is checked at run time, and a list can be
//!   appended to;
//! - `{% set space.name = value %}`: namespaces are objects of this server, which contain no cycles.

use super::TooDeep;
use super::lexer::{Kind, Lexer, Tag, Token};
use super::objects::{BOUNDED, REMAINDER, SET_ATTRIBUTE};

/// The maximum depth of statements and operators. The scanner overestimates the depth.
pub(super) const DEEPEST: usize = 400;
/// The maximum size of a text with templates, in bytes.
pub(super) const MOST_BYTES: usize = 1 << 20;
/// The name of a captured text until it is assigned to an attribute.
const CAPTURED: &str = "__greenroom_captured";
/// The prefix of names that rewritten forms use.
const RESERVED: &str = "__greenroom";

/// The result of scanning a text.
#[derive(Debug)]
pub(super) struct Scanned {
    /// The source for the engine, if it differs from the written text.
    rewritten: Option<String>,
    edits: Vec<Edit>,
    /// True if the engine needs little stack.
    pub(super) shallow: bool,
    /// The names of the filters used; those of tests are in `tests`.
    pub(super) filters: Vec<String>,
    pub(super) tests: Vec<String>,
}

impl Scanned {
    /// Returns the source for the engine.
    pub(super) fn source<'a>(&'a self, written: &'a str) -> &'a str {
        self.rewritten.as_deref().unwrap_or(written)
    }

    /// Converts a position in the engine's source to one in the written text.
    pub(super) fn place(&self, at: usize) -> usize {
        let (mut added, mut removed) = (0, 0);
        for edit in &self.edits {
            let start = edit.start + added - removed;
            if at < start {
                break;
            }
            if at < start + edit.insert.len() {
                return edit.start;
            }
            added += edit.insert.len();
            removed += edit.remove;
        }
        at + removed - added
    }
}

/// A replacement in the written text.
#[derive(Debug)]
struct Edit {
    start: usize,
    remove: usize,
    insert: String,
}

/// Scans a text with templates.
pub(super) fn template(text: &str) -> Result<Scanned, TooDeep> {
    if text.len() > MOST_BYTES {
        return Err(TooDeep::new(format!("a text with templates has at most {MOST_BYTES} bytes")));
    }
    let mut scan = Scan::default();
    let mut lexer = Lexer::new(text);
    while let Some(tag) = lexer.tag() {
        scan.tag(&tag)?;
    }
    Ok(scan.finish(text))
}

/// Scans an expression without braces.
pub(super) fn expression(text: &str) -> Result<Scanned, TooDeep> {
    if text.len() > MOST_BYTES {
        return Err(TooDeep::new(format!("an expression has at most {MOST_BYTES} bytes")));
    }
    let mut scan = Scan::default();
    let tokens = super::lexer::expression(text);
    scan.expression(&tokens, text.len(), false)?;
    Ok(scan.finish(text))
}

/// A statement that is not closed yet.
struct Open {
    /// The depth of this statement, including the enclosing ones.
    depth: usize,
    /// The attribute to which the captured text is assigned at the end.
    attribute: Option<(String, String)>,
}

#[derive(Default)]
struct Scan {
    edits: Vec<Edit>,
    open: Vec<Open>,
    deepest: usize,
    statements: bool,
    filters: Vec<String>,
    tests: Vec<String>,
}

impl Scan {
    fn finish(mut self, text: &str) -> Scanned {
        // A stable sort: of several insertions at one position, the first stays first.
        self.edits.sort_by_key(|edit| edit.start);
        let rewritten = (!self.edits.is_empty()).then(|| {
            let mut result = String::with_capacity(text.len() + 64);
            let mut from = 0;
            for edit in &self.edits {
                result.push_str(text.get(from..edit.start).unwrap_or_default());
                result.push_str(&edit.insert);
                from = edit.start + edit.remove;
            }
            result.push_str(text.get(from..).unwrap_or_default());
            result
        });
        Scanned {
            rewritten,
            edits: self.edits,
            shallow: !self.statements && self.deepest <= 12,
            filters: self.filters,
            tests: self.tests,
        }
    }

    fn insert(&mut self, start: usize, insert: impl Into<String>) {
        self.edits.push(Edit { start, remove: 0, insert: insert.into() });
    }

    /// Returns the depth of the statements around a tag.
    fn around(&self) -> usize {
        self.open.last().map_or(0, |open| open.depth)
    }

    fn tag(&mut self, tag: &Tag<'_>) -> Result<(), TooDeep> {
        let around = self.around();
        if !tag.statement {
            return self.expression(&tag.tokens, tag.close, false).map(|_depth| ());
        }
        self.statements = true;
        let Some((word, rest)) = tag.tokens.split_first() else { return Ok(()) };
        let accumulates = matches!(word.text, "with" | "macro" | "call" | "set");
        let depth = self.expression(rest, tag.close, accumulates)?;
        let opened = Open { depth: around + depth + 1, attribute: None };
        match word.text {
            "for" | "if" | "with" | "autoescape" | "filter" | "block" | "macro" | "call" => {
                self.open.push(opened);
            }
            "elif" | "else" => {
                if let Some(open) = self.open.last_mut() {
                    open.depth += depth + 1;
                }
            }
            "set" => self.set(tag, rest, opened)?,
            "endset" => {
                let attribute = self.open.pop().and_then(|open| open.attribute);
                if let Some((space, name)) = attribute {
                    let call =
                        format!("{{% do {SET_ATTRIBUTE}({space}, \"{name}\", {CAPTURED}) %}}");
                    self.insert(tag.end, call);
                }
            }
            other if other.starts_with("end") => {
                self.open.pop();
            }
            _ => (),
        }
        if self.around() > DEEPEST {
            return Err(TooDeep::nested());
        }
        Ok(())
    }

    /// Rewrites an assignment, `{% set … %}`.
    fn set(&mut self, tag: &Tag<'_>, tokens: &[Token<'_>], opened: Open) -> Result<(), TooDeep> {
        let assign = assignment(tokens);
        let target = tokens.get(..assign.unwrap_or(tokens.len())).unwrap_or_default();
        let target = match target.iter().position(|token| token.text == "|") {
            Some(filter) if assign.is_none() => target.get(..filter).unwrap_or_default(),
            Some(_) | None => target,
        };
        let attribute = match target {
            [space, dot, name]
                if dot.text == "." && space.kind == Kind::Name && name.kind == Kind::Name =>
            {
                Some((space.text, name.text))
            }
            _ if target.iter().any(|token| token.text == ".") => {
                let message = "attributes of namespaces are assigned one by one: {% set a.b = 1 %}";
                return Err(TooDeep::new(message.to_owned()));
            }
            _ => None,
        };
        let (Some(first), Some(last)) = (target.first(), target.last()) else { return Ok(()) };
        match (assign.and_then(|at| tokens.get(at)), attribute) {
            (Some(assign), None) => {
                self.insert(assign.end(), "((");
                self.insert(tag.close, format!("))|{BOUNDED} "));
            }
            (Some(assign), Some((space, name))) => {
                let word = tag.tokens.first().map_or(first.start, |word| word.start);
                self.edits.push(Edit {
                    start: word,
                    remove: assign.end() - word,
                    insert: format!("do {SET_ATTRIBUTE}({space}, \"{name}\", ("),
                });
                self.insert(tag.close, ")) ");
            }
            (None, None) => self.open.push(opened),
            (None, Some((space, name))) => {
                self.edits.push(Edit {
                    start: first.start,
                    remove: last.end() - first.start,
                    insert: CAPTURED.to_owned(),
                });
                let attribute = Some((space.to_owned(), name.to_owned()));
                self.open.push(Open { attribute, ..opened });
            }
        }
        Ok(())
    }

    /// Counts the depth of an expression, and rewrites `%`. Parts separated by commas do not add up,
    /// unless the expression `accumulates`: an assignment can use the ones before it.
    fn expression(
        &mut self,
        tokens: &[Token<'_>],
        end: usize,
        accumulates: bool,
    ) -> Result<usize, TooDeep> {
        let around = self.around();
        let mut levels = vec![Level::default()];
        let mut deepest = 0;
        let mut before: Option<&Token<'_>> = None;
        for (index, token) in tokens.iter().enumerate() {
            if token.kind == Kind::Name && token.text.starts_with(RESERVED) {
                let message = format!("names do not begin with `{RESERVED}`");
                return Err(TooDeep::new(message));
            }
            let after_operand = before.is_some_and(is_operand);
            let Some(level) = levels.last_mut() else { break };
            match token.kind {
                Kind::Open => {
                    level.begin(token.start);
                    level.chain += 1;
                    let base = level.chain;
                    levels.push(Level { base, chain: base, most: base, ..Level::default() });
                }
                Kind::Close => {
                    if let (Some(edit), Some(before)) = (level.close(), before) {
                        self.insert(before.end(), edit);
                    }
                    let inner = level.most;
                    if levels.len() > 1 {
                        levels.pop();
                    }
                    if let Some(level) = levels.last_mut() {
                        level.chain = inner + 1;
                    }
                }
                Kind::Sign if token.text == "%" && after_operand => {
                    if let (Some(edit), Some(before)) = (level.close(), before) {
                        self.insert(before.end(), edit);
                    }
                    let start = level.operand.unwrap_or(token.start);
                    self.insert(start, "(");
                    self.edits.push(Edit {
                        start: token.start,
                        remove: 1,
                        insert: format!(")|{REMAINDER}("),
                    });
                    level.pending = true;
                    level.chain += 2;
                }
                Kind::Sign | Kind::Name if separates(token, after_operand, before) => {
                    if let (Some(edit), Some(before)) = (level.close(), before) {
                        self.insert(before.end(), edit);
                    }
                    if !matches!(token.text, "*" | "/" | "//") {
                        level.operand = None;
                    }
                    if matches!(token.text, "," | ":") && !accumulates {
                        level.chain = level.base;
                    } else {
                        level.chain += 1;
                    }
                }
                Kind::Sign => {
                    level.begin(token.start);
                    level.chain += 1;
                }
                Kind::Name | Kind::Text | Kind::Number => {
                    level.begin(token.start);
                    let word = token.text;
                    level.chain += usize::from(matches!(word, "is" | "not" | "if" | "else"));
                    self.used(tokens, index);
                }
            }
            if let Some(level) = levels.last_mut() {
                level.most = level.most.max(level.chain);
                deepest = deepest.max(level.most);
            }
            if around + deepest > DEEPEST {
                return Err(TooDeep::nested());
            }
            before = Some(token);
        }
        for level in levels.iter().rev() {
            if level.pending {
                self.insert(before.map_or(end, Token::end), ")");
            }
        }
        self.deepest = self.deepest.max(around + deepest);
        Ok(deepest)
    }

    /// Records the filter or test named at `index`.
    fn used(&mut self, tokens: &[Token<'_>], index: usize) {
        let text = |at: Option<usize>| at.and_then(|at| tokens.get(at)).map_or("", |it| it.text);
        let (one, two) = (index.checked_sub(1), index.checked_sub(2));
        let dotted = text(index.checked_add(1)) == ".";
        let Some(name) = tokens.get(index).filter(|name| name.kind == Kind::Name) else { return };
        if dotted || matches!(name.text, "not") {
            return;
        }
        if text(one) == "|" {
            self.filters.push(name.text.to_owned());
        } else if text(one) == "is" || (text(one) == "not" && text(two) == "is") {
            self.tests.push(name.text.to_owned());
        }
    }
}

/// The state within one pair of brackets.
#[derive(Debug, Default)]
struct Level {
    base: usize,
    chain: usize,
    most: usize,
    /// The start of the current operand; for a product, of its first factor.
    operand: Option<usize>,
    /// True while the right side of `%` continues.
    pending: bool,
}

impl Level {
    fn begin(&mut self, at: usize) {
        self.operand.get_or_insert(at);
    }

    /// Returns the text to insert at the end of the right side of a `%`.
    fn close(&mut self) -> Option<&'static str> {
        std::mem::take(&mut self.pending).then_some(")")
    }
}

/// Returns the index of the `=` of an assignment; none if the statement captures a text.
fn assignment(tokens: &[Token<'_>]) -> Option<usize> {
    let mut depth = 0_i32;
    for (index, token) in tokens.iter().enumerate() {
        match (token.kind, token.text) {
            (Kind::Open, _) => depth += 1,
            (Kind::Close, _) => depth -= 1,
            (_, "=") if depth == 0 => return Some(index),
            (_, "|") if depth == 0 => return None,
            _ => (),
        }
    }
    None
}

fn is_keyword(text: &str) -> bool {
    matches!(text, "and" | "or" | "not" | "in" | "is" | "if" | "else")
}

fn is_operand(token: &Token<'_>) -> bool {
    match token.kind {
        Kind::Name => !is_keyword(token.text),
        Kind::Text | Kind::Number | Kind::Close => true,
        Kind::Open | Kind::Sign => false,
    }
}

/// True if a token ends an operand of `%`.
fn separates(token: &Token<'_>, after_operand: bool, before: Option<&Token<'_>>) -> bool {
    match token.text {
        "," | ":" | "=" | "~" | "==" | "!=" | "<" | "<=" | ">" | ">=" => true,
        "+" | "-" | "*" | "/" | "//" => after_operand,
        "and" | "or" | "in" | "if" | "else" => true,
        // The `not` of `a not in b` and of `not a` separates, but not that of `a is not b`.
        "not" => before.is_none_or(|before| before.text != "is"),
        _ => false,
    }
}

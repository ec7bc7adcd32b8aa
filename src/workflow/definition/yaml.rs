//! Parses YAML documents to JSON values, with the line of every node.
//!
//! The schema is YAML 1.2's core schema: `yes` and `off` are text. Anchors, aliases and merge keys
//! work. Their expansion is limited, so that a short document cannot exhaust the memory.
//!
//! `serde-saphyr` 2.2.0 keeps the lines and the limits as well, but not the schema: it reads `010` as the
//! float 10.0, `0b11` and `-0x1f` as numbers, and refuses `0xB` beside `11` as the same key. Its recursion
//! overflows a stack of 2 MiB at 53 levels in a debug build.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use serde_json::{Map, Number, Value};

/// The maximum number of nodes; an alias counts with all nodes of its expansion.
const MOST_NODES: usize = 200_000;
/// The maximum nesting depth of a document.
const DEEPEST: usize = 100;
/// The error for a text that PostgreSQL cannot store.
const NUL: &str = "a text must not contain the character NUL (U+0000): remove it";

/// A document with the positions of its nodes.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// The document as a JSON value.
    pub value: Value,
    /// The line of each node, from 1, by JSON pointer.
    pub lines: HashMap<String, usize>,
}

/// The error for a text that is not a YAML document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct NotYaml {
    /// The line of the error, from 1.
    pub line: usize,
    /// The description of the error.
    pub message: String,
}

/// Parses the only document of `text`.
pub fn parse(text: &str) -> Result<Document, NotYaml> {
    // The parser reports an error at the end of the text on the line after the last.
    let last = last_line(text);
    let mut document =
        compose(text).map_err(|error| NotYaml { line: error.line.min(last), ..error })?;
    document.lines.values_mut().for_each(|line| *line = (*line).min(last));
    Ok(document)
}

/// Returns the number of lines; a carriage return ends a line as well.
fn last_line(text: &str) -> usize {
    let text = text.strip_suffix('\n').unwrap_or(text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    let breaks = text.matches(['\n', '\r']).count() - text.matches("\r\n").count();
    breaks + 1
}

fn compose(text: &str) -> Result<Document, NotYaml> {
    let mut composer = Composer {
        parser: Parser::new_from_str(text),
        lines: HashMap::new(),
        anchors: HashMap::new(),
        nodes: 0,
    };
    let mut value = None;
    while let Some((event, span)) = composer.next()? {
        match event {
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => (),
            Event::DocumentStart(_) if value.is_some() => {
                return Err(refused(span, "expected a single document"));
            }
            Event::DocumentStart(_) => {
                let (event, span) = composer.expect()?;
                value = Some(composer.node(event, span, "", 0)?);
            }
            Event::Alias(_)
            | Event::Scalar(..)
            | Event::SequenceStart(..)
            | Event::MappingStart(..) => return Err(refused(span, "expected a document")),
        }
    }
    Ok(Document { value: value.unwrap_or(Value::Null), lines: composer.lines })
}

/// Returns the pointer of a child: `/blocks` and `0` give `/blocks/0`.
pub fn pointer(parent: &str, child: &str) -> String {
    format!("{parent}/{}", child.replace('~', "~0").replace('/', "~1"))
}

fn refused(span: Span, message: &str) -> NotYaml {
    NotYaml { line: span.start.line(), message: message.to_owned() }
}

struct Composer<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    lines: HashMap<String, usize>,
    anchors: HashMap<usize, (Value, usize)>,
    nodes: usize,
}

impl<'a> Composer<'a> {
    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, NotYaml> {
        self.parser.next_event().transpose().map_err(|error| NotYaml {
            line: error.marker().line(),
            message: error.info().to_owned(),
        })
    }

    fn expect(&mut self) -> Result<(Event<'a>, Span), NotYaml> {
        self.next()?
            .ok_or_else(|| NotYaml { line: 1, message: "the document ends too early".to_owned() })
    }

    fn count(&mut self, more: usize, span: Span) -> Result<(), NotYaml> {
        self.nodes += more;
        if self.nodes > MOST_NODES {
            return Err(refused(span, "the document is too large"));
        }
        Ok(())
    }

    fn node(
        &mut self,
        event: Event<'a>,
        span: Span,
        at: &str,
        depth: usize,
    ) -> Result<Value, NotYaml> {
        self.count(1, span)?;
        if depth > DEEPEST {
            return Err(refused(span, "the document is nested too deeply"));
        }
        self.lines.insert(at.to_owned(), span.start.line());
        let before = self.nodes;
        let (value, anchor) = match event {
            Event::Scalar(text, ..) if text.contains('\0') => return Err(refused(span, NUL)),
            Event::Scalar(text, style, anchor, tag) => {
                (scalar(&text, style, tag.as_deref(), span)?, anchor)
            }
            Event::Alias(anchor) => {
                let known = self.anchors.get(&anchor).cloned();
                let (value, size) = known.ok_or_else(|| refused(span, "no such anchor"))?;
                self.count(size, span)?;
                return Ok(value);
            }
            Event::SequenceStart(anchor, _) => (self.sequence(at, depth)?, anchor),
            Event::MappingStart(anchor, _) => (self.mapping(at, depth)?, anchor),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => return Err(refused(span, "expected a value")),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, (value.clone(), self.nodes - before + 1));
        }
        Ok(value)
    }

    fn sequence(&mut self, at: &str, depth: usize) -> Result<Value, NotYaml> {
        let mut list = Vec::new();
        loop {
            let (event, span) = self.expect()?;
            if event == Event::SequenceEnd {
                return Ok(Value::Array(list));
            }
            let child = pointer(at, &list.len().to_string());
            list.push(self.node(event, span, &child, depth + 1)?);
        }
    }

    fn mapping(&mut self, at: &str, depth: usize) -> Result<Value, NotYaml> {
        let mut own = Map::new();
        let mut merged = Map::new();
        loop {
            let (event, span) = self.expect()?;
            let (key, plain) = match event {
                Event::MappingEnd => break,
                Event::Scalar(text, ..) if text.contains('\0') => return Err(refused(span, NUL)),
                Event::Scalar(text, style, _, _) => {
                    (text.into_owned(), style == ScalarStyle::Plain)
                }
                Event::Nothing
                | Event::StreamStart
                | Event::StreamEnd
                | Event::DocumentStart(_)
                | Event::DocumentEnd
                | Event::Alias(_)
                | Event::SequenceStart(..)
                | Event::SequenceEnd
                | Event::MappingStart(..) => return Err(refused(span, "a key must be a text")),
            };
            self.count(1, span)?;
            let key_line = span.start.line();
            let child = pointer(at, &key);
            let (event, value_span) = self.expect()?;
            let value = self.node(event, value_span, &child, depth + 1)?;
            if plain && key == "<<" {
                merge(&mut merged, value).map_err(|message| refused(value_span, message))?;
            } else if own.insert(key.clone(), value).is_some() {
                return Err(refused(span, &format!("the key `{key}` occurs twice")));
            }
            self.lines.insert(child, key_line);
        }
        for (key, value) in merged {
            own.entry(key).or_insert(value);
        }
        Ok(Value::Object(own))
    }
}

fn merge(into: &mut Map<String, Value>, value: Value) -> Result<(), &'static str> {
    let list = if let Value::Array(list) = value { list } else { vec![value] };
    for value in list {
        let Value::Object(object) = value else { return Err("only mappings can be merged") };
        for (key, value) in object {
            into.entry(key).or_insert(value);
        }
    }
    Ok(())
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Result<Value, NotYaml> {
    let core = tag.filter(|tag| tag.is_yaml_core_schema()).map(|tag| tag.suffix.as_str());
    if core == Some("str") || (style != ScalarStyle::Plain && core.is_none()) {
        return Ok(Value::from(text));
    }
    let value = plain(text);
    let fits = match core {
        None => true,
        Some("int") => value.is_i64() || value.is_u64(),
        Some("float") => value.is_number(),
        Some("bool") => value.is_boolean(),
        Some("null") => value.is_null(),
        Some(_) => false,
    };
    if fits { Ok(value) } else { Err(refused(span, "the value does not fit its tag")) }
}

fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        _ => (),
    }
    let unsigned = |digits: Option<&str>, radix| {
        let digits = digits.filter(|digits| !digits.starts_with('+'))?;
        u64::from_str_radix(digits, radix).ok().map(Value::from)
    };
    if let Some(number) =
        unsigned(text.strip_prefix("0x"), 16).or_else(|| unsigned(text.strip_prefix("0o"), 8))
    {
        return number;
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Value::from(text);
    }
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let text = text.strip_prefix('+').unwrap_or(text);
        if let Ok(number) = text.parse::<i64>() {
            return Value::from(number);
        }
        if let Ok(number) = text.parse::<u64>() {
            return Value::from(number);
        }
    }
    let float =
        digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    let number = text.parse::<f64>().ok().filter(|_number| float).and_then(Number::from_f64);
    number.map_or_else(|| Value::from(text), Value::Number)
}

//! Splits a template into its tags and their tokens, in one pass and without recursion.
//!
//! The rules are those of the template engine: comments and raw blocks have no tokens, and a tag ends
//! only where all its brackets are closed. At an invalid token the lexer ends, because the engine
//! rejects the text there.

/// The kind of a [`Token`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A name or a keyword.
    Name,
    /// A text in quotes.
    Text,
    /// A number, without its sign.
    Number,
    Open,
    Close,
    /// Any other operator or sign.
    Sign,
}

/// A token of a tag and its place in the template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a str,
    pub(super) start: usize,
}

impl Token<'_> {
    pub(super) fn end(&self) -> usize {
        self.start + self.text.len()
    }
}

/// A tag, `{{ … }}` or `{% … %}`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tag<'a> {
    /// True for a statement, `{% … %}`.
    pub(super) statement: bool,
    pub(super) tokens: Vec<Token<'a>>,
    /// The start of the closing sign, including a `-` or `+` before it.
    pub(super) close: usize,
    /// The end of the closing sign.
    pub(super) end: usize,
}

/// Iterates over the tags of a template.
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    /// The number of open brackets. It may fall below zero, as in the engine.
    balance: i64,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0, balance: 0 }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Returns the next tag; none after the last one.
    pub(super) fn tag(&mut self) -> Option<Tag<'a>> {
        loop {
            let rest = self.rest();
            // One pass: searching for each sign separately would read the whole rest for every tag.
            let braces = rest.bytes().zip(rest.bytes().skip(1));
            let open = braces
                .enumerate()
                .find(|(_at, pair)| matches!(pair, (b'{', b'{' | b'%' | b'#')))
                .map(|(at, _pair)| at)?;
            self.at += open + 2;
            match rest.as_bytes().get(open + 1) {
                Some(b'#') => self.at += self.rest().find("#}")? + 2,
                Some(b'%') => match self.named_tag("raw") {
                    Some(after) => {
                        self.at = after;
                        self.skip_raw()?;
                    }
                    None => return Some(self.tokens(true)),
                },
                Some(_) | None => return Some(self.tokens(false)),
            }
        }
    }

    /// Returns the end of a tag that consists of one word, if such a tag begins here.
    fn named_tag(&self, word: &str) -> Option<usize> {
        let rest = self.rest();
        let inner = rest.strip_prefix(['-', '+']).unwrap_or(rest);
        let after = inner.trim_ascii_start().strip_prefix(word)?.trim_ascii_start();
        let after = after.strip_prefix(['-', '+']).unwrap_or(after).strip_prefix("%}")?;
        Some(self.text.len() - after.len())
    }

    fn skip_raw(&mut self) -> Option<()> {
        loop {
            self.at += self.rest().find("{%")? + 2;
            if let Some(after) = self.named_tag("endraw") {
                self.at = after;
                return Some(());
            }
        }
    }

    fn tokens(&mut self, statement: bool) -> Tag<'a> {
        let sign = if statement { "%}" } else { "}}" };
        let mut tokens = Vec::new();
        // A `-` or `+` for white space control belongs to the opening sign.
        if self.rest().starts_with(['-', '+']) {
            self.at += 1;
        }
        loop {
            let spaces = self.rest().len() - self.rest().trim_ascii_start().len();
            self.at += spaces;
            let rest = self.rest();
            if self.balance == 0 {
                let inner = rest.strip_prefix(['-', '+']).unwrap_or(rest);
                if inner.starts_with(sign) {
                    let close = self.at;
                    self.at += rest.len() - inner.len() + sign.len();
                    return Tag { statement, tokens, close, end: self.at };
                }
            }
            let after_dot = tokens.last().is_some_and(|last: &Token<'_>| last.text == ".");
            let Some((kind, length)) = token(rest, after_dot) else {
                let end = self.text.len();
                self.at = end;
                return Tag { statement, tokens, close: end, end };
            };
            match kind {
                Kind::Open => self.balance += 1,
                Kind::Close => self.balance -= 1,
                Kind::Name | Kind::Text | Kind::Number | Kind::Sign => (),
            }
            let text = rest.get(..length).unwrap_or(rest);
            tokens.push(Token { kind, text, start: self.at });
            self.at += length;
        }
    }
}

/// Returns the tokens of an expression without braces.
pub(super) fn expression(text: &str) -> Vec<Token<'_>> {
    let mut tokens: Vec<Token<'_>> = Vec::new();
    let mut rest = text.trim_ascii_start();
    while !rest.is_empty() {
        let after_dot = tokens.last().is_some_and(|last| last.text == ".");
        let Some((kind, length)) = token(rest, after_dot) else { break };
        let (token, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
        tokens.push(Token { kind, text: token, start: text.len() - rest.len() });
        rest = after.trim_ascii_start();
    }
    tokens
}

/// Returns the kind and the length of the token at the start of `rest`; none if it is invalid.
fn token(rest: &str, after_dot: bool) -> Option<(Kind, usize)> {
    let first = rest.chars().next()?;
    if ["//", "**", "==", "!=", ">=", "<="].iter().any(|sign| rest.starts_with(sign)) {
        return Some((Kind::Sign, 2));
    }
    match first {
        '(' | '[' | '{' => Some((Kind::Open, 1)),
        ')' | ']' | '}' => Some((Kind::Close, 1)),
        '+' | '-' | '*' | '/' | '%' | '.' | ',' | ':' | '~' | '|' | '=' | '>' | '<' => {
            Some((Kind::Sign, 1))
        }
        '\'' | '"' => {
            let mut escaped = false;
            let inner = rest.get(1..)?;
            let end = inner.char_indices().find(|(_at, letter)| {
                let closes = *letter == first && !escaped;
                escaped = *letter == '\\' && !escaped;
                closes
            });
            Some((Kind::Text, end?.0 + 2))
        }
        '0'..='9' => Some((Kind::Number, number(rest, after_dot))),
        _ => {
            let word =
                |letter: char| letter == '_' || letter.is_alphanumeric() || !letter.is_ascii();
            let length = rest.find(|letter| !word(letter)).unwrap_or(rest.len());
            (length > 0).then_some((Kind::Name, length))
        }
    }
}

/// Returns the length of a number, which is never longer than the number that the engine reads.
fn number(rest: &str, after_dot: bool) -> usize {
    let bytes = rest.as_bytes();
    let digits = |from: usize| {
        let run = bytes.get(from..).unwrap_or_default().iter();
        run.take_while(|byte| byte.is_ascii_digit() || **byte == b'_').count()
    };
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut length = digits(0);
    if after_dot {
        return length;
    }
    if bytes.get(length) == Some(&b'.') && digit(length + 1) {
        length += 1 + digits(length + 1);
    }
    if matches!(bytes.get(length), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
        if digit(length + 1 + sign) {
            length += 1 + sign + digits(length + 1 + sign);
        }
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let mut lexer = Lexer::new(text);
        let tags: Vec<String> = std::iter::from_fn(|| lexer.tag())
            .map(|tag| tag.tokens.iter().map(|token| token.text).collect::<Vec<_>>().join(" "))
            .collect();
        assert_eq!(tags, expected, "{text}");
    }

    #[test]
    fn tags_have_tokens_and_comments_and_raw_texts_have_none() {
        check("a {{ b.c|d('}}') }} e", &["b . c | d ( '}}' )"]);
        check("{%- if a-%}{{-1}}{%+ endif +%}", &["if a", "1", "endif"]);
        check("{# {{ a }} #}{{ b }}", &["b"]);
        check("{% raw %}{{ a }}{% b %}{%- endraw -%}{{ c }}", &["c"]);
        check("{{ {'a': {'b': 1}} }}", &["{ 'a' : { 'b' : 1 } }"]);
        check("{{ 1.5e-3+x.1.0 }}", &["1.5e-3 + x . 1 . 0"]);
        check("{{ 'it\\'s' ~ größe }}", &["'it\\'s' ~ größe"]);
    }

    #[test]
    fn what_never_ends_is_read_to_the_end() {
        check("{{ a", &["a"]);
        check("{{ 'a", &[""]);
        check("{# a", &[]);
        check("{% raw %} {{ a }}", &[]);
    }
}

//! Comments of Python code, in which templates are not rendered.
//!
//! A comment is not executed, so a template in it must neither fail nor become code.

use super::is_template;

/// Replaces each comment that contains a template by a mark. Returns the code, and the comments with
/// their marks.
pub(super) fn masked(code: &str) -> (String, Vec<(String, String)>) {
    let mut result = String::with_capacity(code.len());
    let mut hidden = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find(['#', '\'', '"', '{']) {
        let (before, found) = rest.split_at(at);
        result.push_str(before);
        let length = if found.starts_with('#') {
            let length = found.find('\n').unwrap_or(found.len());
            let comment = found.get(..length).unwrap_or(found);
            if is_template(comment) {
                let mark = format!("#\u{fdd0}{}\u{fdd1}", hidden.len());
                result.push_str(&mark);
                hidden.push((mark, comment.to_owned()));
                rest = found.get(length..).unwrap_or_default();
                continue;
            }
            length
        } else if found.starts_with('{') {
            template(found)
        } else {
            text(found)
        };
        let (kept, after) = found.split_at_checked(length).unwrap_or((found, ""));
        result.push_str(kept);
        rest = after;
    }
    result.push_str(rest);
    (result, hidden)
}

/// Puts the comments back in place of their marks.
pub(super) fn restored(rendered: &str, hidden: &[(String, String)]) -> String {
    hidden
        .iter()
        .fold(rendered.to_owned(), |code, (mark, comment)| code.replace(mark.as_str(), comment))
}

/// Returns the length of a template, in which quotes have no effect on the code around; 1 for any
/// other brace.
fn template(code: &str) -> usize {
    let close = match code.as_bytes().get(1) {
        Some(b'{') => "}}",
        Some(b'%') => "%}",
        Some(b'#') => "#}",
        Some(_) | None => return 1,
    };
    code.find(close).map_or(1, |end| end + close.len())
}

/// Returns the length of a quoted text; an unterminated text ends with its line.
fn text(code: &str) -> usize {
    let quote = code.get(..1).unwrap_or_default();
    let triple = quote.repeat(3);
    let (open, long) =
        if code.starts_with(triple.as_str()) { (triple.as_str(), true) } else { (quote, false) };
    let mut escaped = false;
    let mut at = open.len();
    while let Some(rest) = code.get(at..).filter(|rest| !rest.is_empty()) {
        let Some(letter) = rest.chars().next() else { break };
        if !escaped && rest.starts_with(open) {
            return at + open.len();
        }
        if !long && letter == '\n' && !escaped {
            return at;
        }
        escaped = letter == '\\' && !escaped;
        at += letter.len_utf8();
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(code: &str, comments: &[&str]) {
        let (hidden, found) = masked(code);
        let found_comments: Vec<&str> = found.iter().map(|(_mark, it)| it.as_str()).collect();
        assert_eq!(found_comments, comments, "{code}");
        assert_eq!(restored(&hidden, &found), code);
    }

    #[test]
    fn templates_in_comments_are_found_and_those_in_texts_are_not() {
        check("x = 1 # {{ a }}\ny = '{{ b }}'", &["# {{ a }}"]);
        check("x = '# {{ a }}' # plain", &[]);
        check("x = \"\"\"\n# {{ a }}\n\"\"\"  # {% b %}", &["# {% b %}"]);
        check("x = 'it\\'s' # {{ a }}", &["# {{ a }}"]);
        check("x = {{ a | default('#') }} # {# c #}", &["# {# c #}"]);
        check("x = 'open\n# {{ a }}", &["# {{ a }}"]);
    }
}

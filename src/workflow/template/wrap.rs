//! Breaks a line into shorter ones, as Python's `textwrap` does.

/// Splits a line into words, hyphenated parts of words, and the white space between them.
fn chunks(line: &str, at_hyphens: bool) -> Vec<String> {
    let letters: Vec<char> = line.chars().collect();
    let mut chunks: Vec<String> = Vec::new();
    let mut current = String::new();
    let at = |index: usize| letters.get(index).copied();
    let is_letter =
        |index: Option<usize>| index.and_then(at).is_some_and(|it| it.is_alphabetic() || it == '_');
    for (index, letter) in letters.iter().enumerate() {
        let before = index.checked_sub(1).and_then(at);
        let turns = before.is_some_and(|before| before.is_whitespace() != letter.is_whitespace());
        // Breaks after a hyphen between letters, as in `well-known`, but not in `a-1` or `--option`.
        let hyphen = at_hyphens
            && before == Some('-')
            && is_letter(Some(index))
            && is_letter(index.checked_sub(2))
            && is_letter(index.checked_sub(3))
            && is_letter(Some(index + 1));
        if (turns || hyphen) && !current.is_empty() {
            chunks.push(std::mem::take(&mut current));
        }
        current.push(*letter);
    }
    if !current.is_empty() {
        chunks.push(current);
    }
    chunks
}

fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

/// Breaks a line into lines. A word longer than `width` is broken if `break_words` is set.
pub(super) fn lines(line: &str, width: usize, break_words: bool, at_hyphens: bool) -> Vec<String> {
    let mut left: Vec<String> = chunks(line, at_hyphens);
    left.reverse();
    let mut result: Vec<String> = Vec::new();
    while !left.is_empty() {
        let mut current: Vec<String> = Vec::new();
        let mut length = 0;
        if !result.is_empty() && left.last().is_some_and(|chunk| is_blank(chunk)) {
            left.pop();
        }
        while let Some(chunk) = left.last() {
            let more = chunk.chars().count();
            if length + more > width {
                break;
            }
            length += more;
            current.extend(left.pop());
        }
        if let Some(long) = left.last().filter(|chunk| chunk.chars().count() > width).cloned() {
            let room = width - length;
            if break_words {
                let mut end = room.max(1);
                if at_hyphens {
                    let hyphen = long.chars().take(room).collect::<Vec<_>>();
                    let place = hyphen.iter().rposition(|letter| *letter == '-');
                    if let Some(place) = place
                        && place > 0
                        && hyphen.iter().take(place).any(|letter| *letter != '-')
                    {
                        end = place + 1;
                    }
                }
                let head: String = long.chars().take(end).collect();
                let tail: String = long.chars().skip(end).collect();
                left.pop();
                left.push(tail);
                current.push(head);
            } else if current.is_empty() {
                current.extend(left.pop());
            }
        }
        if current.last().is_some_and(|chunk| is_blank(chunk)) {
            current.pop();
        }
        if !current.is_empty() {
            result.push(current.concat());
        }
    }
    result
}

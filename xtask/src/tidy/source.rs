//! Rust source without what is not code.

/// The text with comments, strings and characters blanked out; lines keep their numbers.
pub(super) fn code(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = match hidden(rest, code.chars().next_back()) {
            Some(length) => {
                code.extend(rest[..length].matches('\n'));
                code.push(' ');
                length
            }
            None => {
                code.push(first);
                first.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    code
}

/// All before the unit tests, which stand at the end of a file.
pub(super) fn without_tests(code: &str) -> &str {
    code.split_once("#[cfg(test)]\nmod ")
        .map_or(code, |(before, _)| before)
}

/// Bytes of the comment or literal that `text` begins with.
fn hidden(text: &str, before: Option<char>) -> Option<usize> {
    let upto = |from: usize, end: &str| {
        text[from..]
            .find(end)
            .map_or(text.len(), |at| from + at + end.len())
    };
    if text.starts_with("//") {
        // The line's end is kept.
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return Some(upto(2, "*/"));
    }
    if text.starts_with('"') {
        return Some(string(text));
    }
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if let Some(raw) = text
        .strip_prefix('r')
        .filter(|_| !in_word || before == Some('b'))
    {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            return Some(upto(2 + hashes, &format!("\"{}", "#".repeat(hashes))));
        }
    }
    if let Some(character) = text.strip_prefix('\'') {
        // A lifetime has no closing quote behind its first character.
        let mut characters = character.char_indices();
        let (_, first) = characters.next()?;
        if first == '\\' {
            let closing = character.get(2..)?.find('\'')?;
            return Some(closing + 4);
        }
        let (at, second) = characters.next()?;
        return (second == '\'').then_some(at + 2);
    }
    None
}

/// Bytes of the string literal.
fn string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        assert_eq!(code(text), expected, "{text}");
    }

    #[test]
    fn comments_and_literals_are_blank() {
        check("a // unsafe\nb", "a  \nb");
        check("a /* x\ny */ b", "a \n  b");
        check(r#"f("say \"hi\"", b"x")"#, "f( , b )");
        check("r#\"a \" b\"# c", "  c");
        check(
            "'a' + '\\'' + '\\u{1}' + f::<'a>('{')",
            "  +   +   + f::<'a>( )",
        );
        check("for x", "for x");
    }

    #[test]
    fn tests_are_cut_off() {
        assert_eq!(without_tests("a\n#[cfg(test)]\nmod tests {}"), "a\n");
        assert_eq!(
            without_tests("#[cfg(test)]\nuse x;"),
            "#[cfg(test)]\nuse x;"
        );
    }
}

//! Prepares texts from outside for a log: first secrets are removed, and only then it is cut, since half a
//! secret at a cut is still half a secret.

use std::collections::BTreeSet;

/// The maximum length of a shown text.
pub(super) const SHOWN: usize = 300;

/// The maximum length of a text that is processed.
const READ: usize = 64 * 1024;

/// So many characters of a secret in a row are not shown, wherever they are from.
const PART: usize = 10;

/// What GitHub's tokens begin with (docs.github.com, "About authentication to GitHub"); a JSON web token is the
/// base64 of `{"`.
const BEGINNINGS: [&str; 7] = ["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "eyJ"];

/// A text from outside for a log line: without the secret that it may repeat, without other tokens, and
/// short.
pub(super) fn foreign(text: &str, secret: &str) -> String {
    let read = &text[..text.floor_char_boundary(READ)];
    one_line(&without_tokens(&without(read, secret)))
}

/// Without any long part of a secret.
fn without(text: &str, secret: &str) -> String {
    let size = PART.min(secret.len());
    if size == 0 {
        return text.to_owned();
    }
    let parts: BTreeSet<&[u8]> = secret.as_bytes().windows(size).collect();
    let mut hidden = vec![false; text.len()];
    for (at, part) in text.as_bytes().windows(size).enumerate() {
        if parts.contains(part) {
            hidden[at..at + size].fill(true);
        }
    }
    // A part begins and ends where characters do, unless the secret is no text; then the whole character goes.
    let mut shown = String::with_capacity(text.len());
    let mut was_hidden = false;
    for (at, c) in text.char_indices() {
        let is_hidden = hidden[at..at + c.len_utf8()].contains(&true);
        match (is_hidden, was_hidden) {
            (false, _) => shown.push(c),
            (true, false) => shown.push_str("[token]"),
            (true, true) => {}
        }
        was_hidden = is_hidden;
    }
    shown
}

/// Without what looks like a token of GitHub's.
fn without_tokens(text: &str) -> String {
    let in_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(in_token) {
        let word = &rest[start..];
        let word = &word[..word.find(|c| !in_token(c)).unwrap_or(word.len())];
        shown.push_str(&rest[..start]);
        let begins = BEGINNINGS.iter().filter_map(|beginning| word.find(beginning)).min();
        match begins.filter(|at| word.len() - at >= 2 * PART) {
            Some(at) => {
                shown.push_str(&word[..at]);
                shown.push_str("[token]");
            }
            None => shown.push_str(word),
        }
        rest = &rest[start + word.len()..];
    }
    shown + rest
}

/// Without control characters, and short.
pub(super) fn one_line(text: &str) -> String {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut line: String = text.chars().take(SHOWN).map(clean).collect();
    if text.chars().nth(SHOWN).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "s3cret-0123456789-ABCDEFGHIJ";

    #[test]
    fn a_foreign_text_becomes_one_short_line() {
        assert_eq!(one_line("a\nb\x1b[1m"), "a b [1m");
        assert_eq!(one_line(&"ä".repeat(1_000_000)).chars().count(), SHOWN + 1);
    }

    #[test]
    fn no_long_part_of_a_secret_is_shown_however_it_is_cut() {
        assert_eq!(foreign(&format!("you sent {SECRET}!"), SECRET), "you sent [token]!");
        assert_eq!(foreign(&format!("ü{}ü", &SECRET[3..20]), SECRET), "ü[token]ü");
        assert_eq!(foreign("s3cret-0 is short", SECRET), "s3cret-0 is short");
        assert_eq!(foreign("my pass word", "pass"), "my [token] word");
        assert_eq!(foreign("as it was", ""), "as it was");
        // The cut comes after the secret has gone, wherever in it the cut would be.
        for before in SHOWN - SECRET.len()..=SHOWN {
            let shown = foreign(&format!("{}{SECRET}", "x".repeat(before)), SECRET);
            assert!(!shown.contains("s3cr"), "{shown}");
        }
        let huge = foreign(&SECRET.repeat(1 << 16), SECRET);
        assert_eq!(huge, "[token]");
    }

    #[test]
    fn what_looks_like_a_token_of_anybody_is_not_shown() {
        for (text, shown) in [
            ("Bearer ghp_0123456789abcdefABCDEF0123456789abcd, bad", "Bearer [token], bad"),
            ("x=github_pat_11AAAAAAA0123456789_abcdef&y", "x=[token]&y"),
            ("v1.ghs_123_eyJhbGciOiJ.eyJpc3MiOiIx.c2ln", "v1.[token]"),
            ("eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiIx.c2ln", "[token]"),
            ("a token begins with ghp_ or eyJ", "a token begins with ghp_ or eyJ"),
            ("ünïcode – stays.", "ünïcode – stays."),
        ] {
            assert_eq!(foreign(text, ""), shown);
        }
    }
}

//! Texts of other people made harmless: nothing in them may start a line, move the cursor, change colours, or
//! change the direction of writing.

use std::fmt::Write as _;

/// A text on one line, with what would act on a log or a terminal escaped, such as `\n` and `\u{1b}`.
pub fn escaped(text: &str) -> String {
    written(text, |c, line| line.extend(c.escape_default()))
}

/// The same with line breaks kept.
pub fn escaped_lines(text: &str) -> String {
    text.split('\n').map(escaped).collect::<Vec<_>>().join("\n")
}

/// JSON with such characters escaped: serde_json escapes only what JSON requires. They occur in strings only, so
/// the document keeps its meaning.
pub fn escaped_json(document: &str) -> String {
    let escape = |c: char, line: &mut String| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(line, "\\u{unit:04x}");
        }
    };
    document.split('\n').map(|line| written(line, escape)).collect::<Vec<_>>().join("\n")
}

fn written(text: &str, escape: impl Fn(char, &mut String)) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if acts(c) { escape(c, &mut line) } else { line.push(c) }
    }
    line
}

/// Control characters, the separators of lines and paragraphs, and the marks that change the direction of
/// writing (Unicode, UAX 9).
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{061c}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_line_is_written_out() {
        assert_eq!(
            escaped("a\r\nERROR forged\x1b[2J\t\u{85}\u{202e}\0ä\u{2028}\u{200f}"),
            "a\\r\\nERROR forged\\u{1b}[2J\\t\\u{85}\\u{202e}\\u{0}ä\\u{2028}\\u{200f}"
        );
        assert_eq!(escaped_lines("a\x1b[2Jb\nc\u{9b}1m"), "a\\u{1b}[2Jb\nc\\u{9b}1m");
    }

    #[test]
    fn json_stays_the_same_document() {
        let value = serde_json::json!({ "name": "a\x1b\u{9b}\u{202e}\u{7f}\n" });
        let text = escaped_json(&format!("{value:#}"));
        assert!(!text.split('\n').any(|line| line.chars().any(acts)), "{text:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}

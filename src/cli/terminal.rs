//! Texts and tables for a terminal. Names come from other people: nothing in them may move the cursor, change
//! colours, or change the direction of writing.

use std::fmt::Write;

use comfy_table::{Attribute, Cell, Table, presets};

use crate::text::shortened;

/// A text with its invisible characters escaped, such as `\u{1b}`; line breaks stay.
pub(super) fn printable(text: &str) -> String {
    written_out(text, |c, shown| {
        let _ = write!(shown, "{}", c.escape_unicode());
    })
}

/// The same on one line, and cut to this many characters.
pub(super) fn cell(text: &str, most: usize) -> String {
    printable(&shortened(text, most).replace('\n', "\\n"))
}

/// JSON in which every character that acts on a terminal is escaped: serde_json escapes only what JSON
/// requires. Such characters occur in strings only, so the document keeps its meaning.
pub(super) fn json(document: &str) -> String {
    written_out(document, |c, shown| {
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(shown, "\\u{unit:04x}");
        }
    })
}

/// A table without borders, readable for people and scripts.
pub(super) fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines: Vec<_> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// The width of standard output in characters, where it is a terminal.
pub(super) fn width() -> Option<usize> {
    Table::new().width().map(usize::from)
}

fn written_out(text: &str, write_out: impl Fn(char, &mut String)) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if acts(c) { write_out(c, &mut shown) } else { shown.push(c) }
    }
    shown
}

/// Control characters, and the marks that change the direction of writing (Unicode, UAX 9).
fn acts(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_written_out() {
        assert_eq!(printable("a\x1b[2Jb\nc\u{9b}1m\u{202e}ä"), "a\\u{1b}[2Jb\nc\\u{9b}1m\\u{202e}ä");
        assert_eq!(cell("a\nb\tc", 10), "a\\nb\\u{9}c");
        assert_eq!(cell("ääää", 3), "äää…");
    }

    #[test]
    fn json_stays_the_same_document() {
        let value = serde_json::json!({ "name": "a\x1b\u{9b}\u{202e}\u{7f}\n" });
        let text = json(&format!("{value:#}"));
        assert!(!text.chars().any(acts), "{text:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }

    #[test]
    fn a_table_lines_up_without_anything_around_it() {
        let text = table(["NAME", "PHASE"], [["a".into(), "idle".into()], ["long".into(), "busy".into()]]);
        assert_eq!(text, "NAME  PHASE\na     idle\nlong  busy");
    }
}

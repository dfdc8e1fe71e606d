//! Texts and tables for a terminal.

use comfy_table::{Attribute, Cell, Table, presets};

use crate::text::{escaped, shortened};
pub(super) use crate::text::{escaped_json as json, escaped_lines as printable};

/// A text on one line, cut to this many characters.
pub(super) fn cell(text: &str, most: usize) -> String {
    escaped(&shortened(text, most))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_one_line_of_bounded_length() {
        assert_eq!(cell("a\nb\tc", 10), "a\\nb\\tc");
        assert_eq!(cell("ääää", 3), "äää…");
    }

    #[test]
    fn a_table_lines_up_without_anything_around_it() {
        let text = table(["NAME", "PHASE"], [["a".into(), "idle".into()], ["long".into(), "busy".into()]]);
        assert_eq!(text, "NAME  PHASE\na     idle\nlong  busy");
    }
}

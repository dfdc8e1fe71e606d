//! Errors and texts from outside, for display: on one line, bounded, and without secrets.

use std::{borrow::Cow, error::Error as StdError, io};

mod conceal;
mod escape;

use self::conceal::without_secrets;
pub use self::{
    conceal::conceal,
    escape::{escaped, escaped_json, escaped_lines},
};

/// A text from outside as it fits into one log line, without what looks like a secret.
pub fn one_line(text: &str) -> String {
    const MAX: usize = 600;
    let text = without_secrets(text);
    let words: Vec<&str> = text.split_whitespace().collect();
    shortened(&words.join(" "), MAX).into_owned()
}

/// The first `most` characters of a text, and an ellipsis if there are more.
pub fn shortened(text: &str, most: usize) -> Cow<'_, str> {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}

/// An error with its whole chain of causes, on one line.
pub fn chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let next = cause.to_string();
        // Several layers below repeat their source in their own text.
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        if is_out_of_files(cause) {
            text.push_str(
                "; raise this process's limit of open files (LimitNOFILE= of its unit, or ulimit -n)",
            );
        }
        source = cause.source();
    }
    one_line(&text)
}

/// Whether an error was caused by the limit of open files of this process or machine.
pub fn out_of_files(error: &dyn StdError) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if is_out_of_files(cause) {
            return true;
        }
        source = cause.source();
    }
    false
}

/// Whether an error itself says so.
pub fn is_out_of_files(error: &(dyn StdError + 'static)) -> bool {
    let code = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
    [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE]
        .iter()
        .any(|errno| code == Some(errno.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_fit_into_one_line() {
        assert_eq!(one_line("a\n  b\r\n"), "a b");
        assert_eq!(one_line(&"ä".repeat(9000)).chars().count(), 601);
    }
}

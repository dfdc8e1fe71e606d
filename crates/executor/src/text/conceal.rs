//! Removes the JIT config from texts of an engine: a proxy in front of it may repeat the request. Pure.

use std::{collections::HashSet, ops::Range};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use secrecy::{ExposeSecret, SecretString};

/// The replacement for a secret.
const HIDDEN: &str = "[hidden]";

/// The length of the shortest piece of a secret that is hidden, in letters and digits.
const PIECE: usize = 16;

/// The maximum length of a text; the rest is dropped.
const LONGEST_TEXT: usize = 256 * 1024;

/// The longest base64 string that is kept in a text whose secret is not known. An id has 64 characters, and a
/// JIT config thousands.
const LONGEST_RUN: usize = 200;

/// The variable that carries the JIT config.
const VARIABLE: &str = "INPUT_JITCONFIG";

/// The text without any piece of the secret, however it was encoded, escaped or wrapped.
///
/// Only letters and digits are compared: base64's other three characters are what encodings differ by.
pub fn conceal(text: &str, secret: &SecretString) -> String {
    let text = beginning(text);
    let forms = forms(secret.expose_secret().as_bytes());
    let pieces: HashSet<&[u8]> = forms.iter().flat_map(|form| form.windows(PIECE.min(form.len()))).collect();
    let (letters, places): (Vec<u8>, Vec<Range<usize>>) = letters(text).into_iter().unzip();
    let mut hidden = vec![false; letters.len()];
    let lengths: HashSet<usize> = pieces.iter().map(|piece| piece.len()).collect();
    for length in lengths.into_iter().filter(|&length| length > 0) {
        for (at, window) in letters.windows(length).enumerate() {
            if pieces.contains(window) {
                hidden[at..at + length].fill(true);
            }
        }
    }
    let (mut shown, mut from, mut at) = (String::new(), 0, 0);
    while at < hidden.len() {
        let run = hidden[at..].iter().take_while(|&&hidden| hidden).count();
        if run > 0 {
            shown.push_str(&text[from..places[at].start]);
            shown.push_str(HIDDEN);
            from = places[at + run - 1].end;
        }
        at += run.max(1);
    }
    shown + &text[from..]
}

/// The text without anything that looks like a JIT config, where the secret itself is not known.
pub(super) fn without_secrets(text: &str) -> String {
    let text = beginning(text);
    // Anything that follows may be its value, in any form.
    let (text, cut) = match text.find(VARIABLE) {
        Some(at) => (&text[..at + VARIABLE.len()], true),
        None => (text, false),
    };
    let mut shown = String::new();
    for run in text.split_inclusive(|c: char| !is_base64(c)) {
        let length = run.trim_end_matches(|c| !is_base64(c)).len();
        if length > LONGEST_RUN {
            shown.push_str(HIDDEN);
            shown.push_str(&run[length..]);
        } else {
            shown.push_str(run);
        }
    }
    if cut {
        shown.push_str(HIDDEN);
    }
    shown
}

fn is_base64(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '_' | '-')
}

fn beginning(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_TEXT)]
}

/// The letters and digits of all forms that the secret may have.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let plain =
        |bytes: &[u8]| -> Vec<u8> { bytes.iter().copied().filter(u8::is_ascii_alphanumeric).collect() };
    let text = |each: &dyn Fn(u8) -> String| secret.iter().map(|&byte| each(byte)).collect::<String>();
    let mut forms = vec![
        plain(secret),
        text(&|byte| format!("{byte:02x}")).into_bytes(),
        text(&|byte| format!("{byte:02X}")).into_bytes(),
        // The way Go prints bytes.
        text(&|byte| byte.to_string()).into_bytes(),
    ];
    // In a body that was encoded again it begins at any of three positions of a group.
    for before in 0..3 {
        let encoded = STANDARD_NO_PAD.encode([&[0; 2][..before], secret].concat());
        // The first and last groups depend on what is around it.
        forms.push(plain(encoded.as_bytes().get(4..encoded.len().saturating_sub(4)).unwrap_or_default()));
    }
    forms.retain(|form| !form.is_empty());
    forms
}

/// A text's letters and digits with their positions, escapes resolved.
fn letters(text: &str) -> Vec<(u8, Range<usize>)> {
    let (bytes, mut letters, mut at) = (text.as_bytes(), Vec::new(), 0);
    while at < bytes.len() {
        let (byte, length) = escaped(&bytes[at..]).unwrap_or((bytes[at], 1));
        if byte.is_ascii_alphanumeric() {
            letters.push((byte, at..at + length));
        }
        at += length;
    }
    letters
}

/// The character that an escape at the beginning stands for, and the escape's length: of JSON, of addresses
/// (also twice), of HTML, of C, or of quoted-printable text.
fn escaped(bytes: &[u8]) -> Option<(u8, usize)> {
    let number = |from: usize, length: usize, radix: u32| {
        let digits = std::str::from_utf8(bytes.get(from..from + length)?).ok()?;
        u8::try_from(u32::from_str_radix(digits, radix).ok()?).ok().filter(u8::is_ascii_graphic)
    };
    let hex = |from, length| Some((number(from, length, 16)?, from + length));
    match bytes {
        [b'\\', b'u', b'0', b'0', ..] => hex(4, 2),
        [b'\\', b'x', ..] => hex(2, 2),
        [b'\\', b'0'..=b'7', ..] => Some((number(1, 3, 8)?, 4)),
        [b'%', b'2', b'5', ..] => hex(3, 2).or_else(|| hex(1, 2)),
        [b'%', ..] => hex(1, 2),
        [b'=', ..] => hex(1, 2).filter(|(byte, _)| !byte.is_ascii_alphanumeric()),
        [b'&', b'#', b'x' | b'X', ..] if bytes.get(5) == Some(&b';') => Some((number(3, 2, 16)?, 6)),
        [b'&', b'#', ..] if bytes.get(4) == Some(&b';') => Some((number(2, 2, 10)?, 5)),
        [b'&', b'#', ..] if bytes.get(5) == Some(&b';') => Some((number(2, 3, 10)?, 6)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    use super::*;

    /// Like a JIT config: long, with all characters of base64.
    fn secret() -> String {
        let bytes: Vec<u8> = (0..900_u32).map(|n| (n * n * 31 + n * 7 + (n >> 3)).to_le_bytes()[0]).collect();
        let secret = STANDARD.encode(bytes);
        assert!(secret.contains('+') && secret.contains('/'));
        secret
    }

    fn each(text: &str, escape: impl Fn(char) -> String) -> String {
        text.chars().map(escape).collect()
    }

    /// What a proxy may make of the request's body.
    fn echoes(secret: &str) -> Vec<(&'static str, String)> {
        let specials = |f: fn(char) -> String| {
            each(secret, |c| if c.is_ascii_alphanumeric() { c.to_string() } else { f(c) })
        };
        let wrapped = |text: &str, by: &str| {
            text.as_bytes()
                .chunks(76)
                .map(|line| std::str::from_utf8(line).unwrap())
                .collect::<Vec<_>>()
                .join(by)
        };
        let body = |before: &str| format!("{before}{{\"Env\":[\"JIT={secret}\"]}}");
        vec![
            ("raw", secret.to_owned()),
            ("a middle part", secret[100..140].to_owned()),
            ("JSON with \\/", secret.replace('/', "\\/")),
            ("JSON with \\u", specials(|c| format!("\\u{:04x}", c as u32))),
            ("JSON twice", specials(|c| format!("\\\\u{:04X}", c as u32))),
            ("C", specials(|c| format!("\\x{:02x}", c as u32))),
            ("C in octal", specials(|c| format!("\\{:03o}", c as u32))),
            ("an address", specials(|c| format!("%{:02X}", c as u32))),
            ("an address in small letters", specials(|c| format!("%{:02x}", c as u32))),
            ("an address twice", specials(|c| format!("%25{:02X}", c as u32))),
            ("every character in an address", each(secret, |c| format!("%{:02X}", c as u32))),
            ("HTML", specials(|c| format!("&#{};", c as u32))),
            ("HTML in hexadecimal", specials(|c| format!("&#x{:02X};", c as u32))),
            ("quoted-printable", wrapped(&secret.replace('=', "=3D"), "=\r\n")),
            ("lines", wrapped(secret, "\r\n  ")),
            ("lines of a string", wrapped(secret, "\" +\n    \"")),
            ("base64 in lines", wrapped(&STANDARD.encode(body("")), "\n")),
            ("base64, shifted by one", STANDARD.encode(body("x"))),
            ("base64, shifted by two", URL_SAFE.encode(body("xx"))),
            ("hexadecimal", each(secret, |c| format!("{:02x}", c as u32))),
            ("hexadecimal in pairs", each(secret, |c| format!("{:02X} ", c as u32))),
            ("numbers", each(secret, |c| format!("{} ", c as u32))),
            ("quotes and commas", each(secret, |c| format!("'{c}', "))),
        ]
    }

    #[test]
    fn no_form_of_a_secret_is_shown() {
        let secret = secret();
        for (form, echo) in echoes(&secret) {
            let text = format!("bad request: body={echo} (proxy v1)");
            let shown = conceal(&text, &secret.clone().into());
            assert!(
                shown.starts_with("bad request: body=") && shown.ends_with(" (proxy v1)"),
                "{form}: {shown}"
            );
            // What is left of the ends of an encoded body may be longer than of the secret itself.
            let most = "bad request: body= (proxy v1)".len() + HIDDEN.len() + 64;
            assert!(shown.len() <= most, "{form}: {shown}");
        }
    }

    #[test]
    fn what_is_no_secret_is_shown() {
        let text = "Conflict. The container name \"/dayfly-linux-ci1-01jd0000000000000000000000\" is already in \
                    use by 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 (50% of \\u00e4 \
                    &#8211;)";
        assert_eq!(conceal(text, &secret().into()), text);
        assert_eq!(without_secrets(text), text);
        assert_eq!(conceal(text, &SecretString::default()), text);
    }

    #[test]
    fn a_short_secret_is_hidden_too() {
        assert_eq!(conceal("say a-b twice: a-b", &"a-b".into()), "say [hidden] twice: [hidden]");
    }

    #[test]
    fn what_looks_like_a_secret_is_hidden_without_knowing_it() {
        let secret = secret();
        for text in [
            format!("upstream said {secret} and ended"),
            format!("Env: ACTIONS_RUNNER_INPUT_JITCONFIG={}", &secret[..30]),
            secret.clone(),
        ] {
            let shown = without_secrets(&text);
            let piece = secret
                .as_bytes()
                .windows(PIECE)
                .find(|piece| shown.contains(std::str::from_utf8(piece).unwrap()));
            assert!(piece.is_none() && shown.contains(HIDDEN), "{shown}");
        }
    }
}

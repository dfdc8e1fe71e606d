//! Reads a GitHub App's private key from the text of its file. Secret stores may change files: line breaks
//! become blanks or a literal `\n`, or the whole is encoded in base64 again. What is unambiguous is still
//! read; anything else is described in the error. Nothing of the text is shown.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rustls::pki_types::PrivateKeyDer;

const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";

/// Reads the first private key. The error reads after "it ".
pub(in crate::github) fn private_key(content: &[u8]) -> Result<PrivateKeyDer<'static>, &'static str> {
    let text = std::str::from_utf8(content).map_err(|_| "is not text, but GitHub's keys are PEM files")?;
    if !text.contains(BEGIN)
        && let Some(decoded) = base64(text)
        && let Ok(decoded) = std::str::from_utf8(&decoded)
        && decoded.contains(BEGIN)
    {
        return in_text(decoded);
    }
    in_text(text)
}

fn in_text(text: &str) -> Result<PrivateKeyDer<'static>, &'static str> {
    // Neither a backslash nor a quotation mark can be part of PEM.
    let text = text.replace("\\r", "").replace("\\n", "\n");
    let mut others = None;
    for block in text.split(BEGIN).skip(1) {
        let Some((label, rest)) = block.split_once(DASHES) else { continue };
        if !label.ends_with("PRIVATE KEY") {
            others = Some(match label {
                "PUBLIC KEY" | "RSA PUBLIC KEY" => "contains a public key, but the private key is needed",
                "CERTIFICATE" => "contains a certificate, but the App's private key is needed",
                _ => "contains no private key in PEM format",
            });
            continue;
        }
        let Some((body, _)) = rest.split_once("-----END ") else {
            return Err("is incomplete: the END line of its key is missing");
        };
        return key(label, body);
    }
    Err(others.unwrap_or_else(|| instead(&text)))
}

fn key(label: &str, body: &str) -> Result<PrivateKeyDer<'static>, &'static str> {
    let encrypted = "is encrypted with a passphrase, which cannot be entered at start; decrypt it with `openssl rsa -in OLD -out NEW`";
    match label {
        "ENCRYPTED PRIVATE KEY" => return Err(encrypted),
        _ if body.contains("ENCRYPTED") => return Err(encrypted),
        "OPENSSH PRIVATE KEY" => {
            return Err(
                "is in OpenSSH format; convert it with `ssh-keygen -p -m PEM -f FILE`, or use the file that \
                 GitHub offered",
            );
        }
        "RSA PRIVATE KEY" | "PRIVATE KEY" => {}
        _ => return Err("contains a key that is not an RSA key, as GitHub's are"),
    }
    let der = base64(body).ok_or("is damaged: its key is not valid base64")?;
    Ok(if label == "PRIVATE KEY" {
        PrivateKeyDer::Pkcs8(der.into())
    } else {
        PrivateKeyDer::Pkcs1(der.into())
    })
}

/// What a text without any PEM is.
fn instead(text: &str) -> &'static str {
    if text.trim().is_empty() {
        "is empty"
    } else if text.starts_with("PuTTY-User-Key-File") {
        "is in PuTTY format, but the PEM file that GitHub offered is needed"
    } else if text.trim_start().starts_with("ssh-") {
        "contains a public SSH key, but the App's private key is needed"
    } else {
        "contains no private key in PEM format"
    }
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let digits: String = text.chars().filter(|c| !c.is_whitespace() && !matches!(c, '"' | '\'')).collect();
    BASE64_STANDARD.decode(digits).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PKCS1: &str = include_str!("../../../tests/keys/app.pkcs1.pem");
    const PKCS8: &str = include_str!("../../../tests/keys/app.pkcs8.pem");

    fn der(text: &str) -> Vec<u8> {
        private_key(text.as_bytes()).unwrap().secret_der().to_vec()
    }

    #[test]
    fn a_key_is_read_however_its_lines_were_bent() {
        for pem in [PKCS1, PKCS8] {
            let whole = der(pem);
            for bent in [
                pem.replace('\n', "\r\n"),
                format!("\u{feff}{pem}"),
                pem.replace('\n', "\\n"),
                pem.replace('\n', "\\r\\n"),
                pem.replace('\n', " "),
                pem.replace('\n', ""),
                format!("APP_KEY=\"{}\"\n", pem.trim().replace('\n', "\\n")),
                format!("    {}", pem.replace('\n', "\n    ")),
                format!("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n{pem}"),
                BASE64_STANDARD.encode(pem),
                format!("{}\n", BASE64_STANDARD.encode(pem)),
            ] {
                assert_eq!(der(&bent), whole, "{}", &bent[..20]);
            }
        }
    }

    #[test]
    fn what_is_no_key_is_named_and_not_shown() {
        let block =
            |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
        for (text, reported) in [
            (String::new(), "is empty"),
            ("canary".to_owned(), "contains no private key in PEM format"),
            (block("ENCRYPTED PRIVATE KEY", "canary"), "encrypted with a passphrase"),
            (
                block("RSA PRIVATE KEY", "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\ncanary"),
                "encrypted with a passphrase",
            ),
            (block("OPENSSH PRIVATE KEY", "canary"), "OpenSSH format"),
            (block("EC PRIVATE KEY", "canary"), "not an RSA key"),
            (block("PUBLIC KEY", "canary"), "a public key"),
            (block("CERTIFICATE", "canary"), "a certificate"),
            ("-----BEGIN RSA PRIVATE KEY-----\ncanary".to_owned(), "incomplete"),
            (block("RSA PRIVATE KEY", "can*ary"), "damaged"),
            ("PuTTY-User-Key-File-3: ssh-rsa\ncanary".to_owned(), "PuTTY"),
            ("ssh-ed25519 canary me@here\n".to_owned(), "public SSH key"),
        ] {
            let error = private_key(text.as_bytes()).err().unwrap();
            assert!(error.contains(reported) && !error.contains("canary"), "{text}: {error}");
        }
        assert!(private_key(b"\xff\xfe").is_err());
    }
}

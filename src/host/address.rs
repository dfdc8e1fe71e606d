//! The names and addresses of machines, as endpoints have them.

/// Whether a text is the name of a machine, or an IP address, which in version 6 has brackets.
pub(super) fn is_host(text: &str) -> bool {
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !text.is_empty() && !text.starts_with('-') && text.chars().all(name),
    }
}

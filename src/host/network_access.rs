//! What a container needs to reach the world the way its host does: proxies, and certificates to trust. The same
//! for a runner and for what is started beside it.

use std::collections::BTreeMap;

use secrecy::SecretString;

use crate::fleet::{Mount, Proxy, Template};

/// Where the certificates are in a container: the folder that `update-ca-certificates` reads, under a name
/// that it accepts.
const CA_FILE: &str = "/usr/local/share/ca-certificates/dayfly.crt";

/// Variables and mounts.
#[derive(Default)]
pub(super) struct NetworkAccess {
    pub(super) env: BTreeMap<String, String>,
    pub(super) mounts: Vec<Mount>,
}

impl NetworkAccess {
    /// What this template asks for.
    pub(super) fn of(template: &Template) -> Self {
        let Template { proxy, ca_file, .. } = template;
        let mut access = Self::default();
        for (name, value) in
            [("http_proxy", &proxy.http), ("https_proxy", &proxy.https), ("no_proxy", &proxy.no_proxy)]
        {
            // Programs differ in which of both they read.
            for name in [name.to_owned(), name.to_ascii_uppercase()] {
                access.env.extend(value.clone().map(|value| (name, value)));
            }
        }
        if let Some(source) = ca_file {
            // Node adds them to its own. There is no such variable for OpenSSL: SSL_CERT_FILE would replace the
            // certificates of the image.
            access.set("NODE_EXTRA_CA_CERTS", CA_FILE);
            if can_update_certificates(template) {
                // The runner's script then runs `update-ca-certificates` with sudo.
                access.set("RUNNER_UPDATE_CA_CERTS", "1");
            }
            access.mounts.push(Mount { source: source.clone(), target: CA_FILE.to_owned(), read_only: true });
        }
        access
    }

    fn set(&mut self, name: &str, value: &str) {
        self.env.insert(name.to_owned(), value.to_owned());
    }
}

/// The capabilities that a runner does not get. With a proxy as its only way out it has no use for packets of its own
/// making, which could reach the host past the addresses of its network.
pub(super) fn dropped_capabilities(template: &Template) -> Vec<String> {
    let mut dropped = template.cap_drop.clone();
    if template.egress.is_some() && !dropped.iter().any(|name| matches!(name.as_str(), "ALL" | "NET_RAW")) {
        dropped.push("NET_RAW".to_owned());
    }
    dropped
}

/// Whether a runner can change the certificates of its image.
fn can_update_certificates(template: &Template) -> bool {
    !template.read_only && !template.forbids_new_privileges()
}

/// What must not be shown of the addresses of proxies.
pub(super) fn proxy_logins(proxy: &Proxy) -> Vec<SecretString> {
    let addresses = [&proxy.http, &proxy.https].into_iter().flatten();
    let logins = addresses.filter_map(|address| Proxy::login(address));
    logins
        .map(|login| SecretString::from(login.rsplit_once(':').map_or(login, |(_, password)| password)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_set_for_programs_of_both_conventions() {
        let proxy = Proxy {
            http: Some("http://proxy:3128".to_owned()),
            https: None,
            no_proxy: Some("localhost,.example.com".to_owned()),
        };
        let access = NetworkAccess::of(&Template { proxy, ..Template::default() });
        let env: Vec<_> = access.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            env,
            [
                "HTTP_PROXY=http://proxy:3128",
                "NO_PROXY=localhost,.example.com",
                "http_proxy=http://proxy:3128",
                "no_proxy=localhost,.example.com",
            ]
        );
        assert!(access.mounts.is_empty());
    }

    #[test]
    fn certificates_are_updated_only_where_the_runner_can_do_that() {
        let ca_file = Some("/etc/ssl/corp.pem".to_owned());
        let template = Template { ca_file, ..Template::default() };
        let access = NetworkAccess::of(&template);
        assert_eq!(access.env["NODE_EXTRA_CA_CERTS"], access.mounts[0].target);
        assert_eq!(access.env["RUNNER_UPDATE_CA_CERTS"], "1");
        assert!(access.mounts[0].read_only);
        for template in [
            Template { read_only: true, ..template.clone() },
            Template { security_opt: vec!["no-new-privileges:true".to_owned()], ..template },
        ] {
            assert!(!NetworkAccess::of(&template).env.contains_key("RUNNER_UPDATE_CA_CERTS"));
        }
    }
}

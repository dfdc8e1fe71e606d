//! Checks the services that the runners of a pool use: registry mirrors, a cache server, proxies.

use super::{report::Line, wording::problem_and_hint};
use crate::{
    fleet::{DockerMode, Pool, Proxy, Template},
    host::{Docker, Facts, own_image::runs_on},
    text::chain,
};

/// The variables that name a server for `actions/cache`.
const CACHE_SERVERS: [&str; 2] = ["ACTIONS_RESULTS_URL", "ACTIONS_CACHE_URL"];

/// A service that runners connect to.
#[derive(Debug, PartialEq, Eq)]
struct Service {
    /// Such as `registry mirror http://mirror:5000`.
    shown: String,
    /// `HOST:PORT`; `None` where the URL has no host.
    address: Option<String>,
}

/// A line for each service that the pool's template names. Only `try_it` starts a container.
pub(super) async fn reachable(docker: &Docker, facts: &Facts, pool: &Pool, try_it: bool) -> Vec<Line> {
    let services = services(&pool.template);
    let subject = format!("pool {:?}", pool.name.as_str());
    if services.is_empty() {
        return Vec::new();
    }
    if pool.template.egress.is_some() {
        let all = "its services are reached through its egress proxies, which this does not try";
        return vec![Line::skip(subject, all)];
    }
    if !try_it {
        let shown: Vec<&str> = services.iter().map(|service| service.shown.as_str()).collect();
        let text = format!(
            "whether its runners reach {} is checked with --from-runners, which starts a short container",
            shown.join(", ")
        );
        return vec![Line::skip(subject, text)];
    }
    if !runs_on(&facts.os, &facts.architecture) {
        let text = format!(
            "its services were not tried: this program cannot run on its host, which is {}/{}",
            facts.os, facts.architecture
        );
        return vec![Line::skip(subject, text)];
    }
    let (known, unknown): (Vec<_>, Vec<_>) =
        services.into_iter().partition(|service| service.address.is_some());
    let mut lines: Vec<Line> = unknown
        .into_iter()
        .map(|service| {
            let text = format!("{} has no host", service.shown);
            Line::fail(&subject, text, "write a URL such as http://mirror.example:5000")
        })
        .collect();
    let addresses: Vec<String> = known.iter().filter_map(|service| service.address.clone()).collect();
    match docker.reach(&pool.template, &addresses).await {
        Ok(outcomes) => lines.extend(known.iter().zip(outcomes).map(|(service, refused)| match refused {
            None => Line::ok(&subject, format_args!("its runners reach {}", service.shown)),
            Some(why) => Line::fail(
                &subject,
                format_args!("its runners cannot reach {}: {why}", service.shown),
                "start it, or correct its address or the pool's network; a container's localhost is the container \
                 itself",
            ),
        })),
        Err(error) => {
            let (text, fix) = problem_and_hint(&chain(&error));
            lines.push(Line::fail(subject, format_args!("its services were not checked: {text}"), fix));
        }
    }
    lines
}

fn services(template: &Template) -> Vec<Service> {
    let mirrors = match &template.docker {
        DockerMode::Dind(dind) => dind.registry_mirrors.as_slice(),
        DockerMode::None | DockerMode::Socket { .. } => &[],
    };
    let servers = CACHE_SERVERS.iter().filter_map(|name| template.env.get(*name));
    let Proxy { http, https, .. } = &template.proxy;
    let all = mirrors
        .iter()
        .map(|url| ("registry mirror", url))
        .chain(servers.map(|url| ("cache server", url)))
        .chain([http, https].into_iter().flatten().map(|url| ("proxy", url)));
    let mut services = Vec::new();
    for (what, url) in all {
        let service =
            Service { shown: format!("{what} {}", Proxy::without_login(url)), address: address(url) };
        if !services.contains(&service) {
            services.push(service);
        }
    }
    services
}

fn address(url: &str) -> Option<String> {
    let uri: http::Uri = url.parse().ok()?;
    let usual = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    Some(format!("{}:{}", uri.host()?, uri.port_u16().unwrap_or(usual)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fleet::{Dind, Resources};

    #[test]
    fn each_service_is_named_once_without_logins() {
        let mut template = Template::default();
        assert_eq!(services(&template), []);
        let urls =
            ["http://mirror:5000".to_owned(), "https://mirror.example".to_owned(), "http://".to_owned()];
        let dind = Dind {
            image: String::new(),
            resources: Resources::default(),
            registry_mirrors: urls.to_vec(),
            mtu: None,
            start_timeout: Duration::ZERO,
        };
        template.docker = DockerMode::Dind(dind);
        template.env.insert("ACTIONS_RESULTS_URL".to_owned(), "http://[fd00::1]:3000/".to_owned());
        let proxy = Some("http://me:secret@proxy:3128".to_owned());
        template.proxy = Proxy { http: proxy.clone(), https: proxy, no_proxy: None };
        let found = services(&template);
        let found: Vec<_> =
            found.iter().map(|service| (service.shown.as_str(), service.address.as_deref())).collect();
        assert_eq!(
            found,
            [
                ("registry mirror http://mirror:5000", Some("mirror:5000")),
                ("registry mirror https://mirror.example", Some("mirror.example:443")),
                ("registry mirror http://", None),
                ("cache server http://[fd00::1]:3000/", Some("[fd00::1]:3000")),
                ("proxy http://…@proxy:3128", Some("proxy:3128")),
            ]
        );
    }
}

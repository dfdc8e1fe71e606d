//! What a job reaches whose runner has a proxy as its only way out, as the job itself finds out.

use std::{
    collections::BTreeMap,
    io::Write as _,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use bollard::query_parameters::InspectNetworkOptions;
use dayfly::{
    fleet::{Egress, EgressMode, Network, Pool, RunnerName},
    host::{Host as _, HostError, own_image::EGRESS_PROXY},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, UdpSocket},
};

use super::{
    attachments::{left, prepare, try_prepare},
    stand::{IDLE, Stand},
};
use crate::engines::{self, TestEngine};

const BINARY: &str = env!("CARGO_BIN_EXE_dayfly");

/// What a server of the test answers.
const ANSWER: &str = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// Each line of the job's attempts is `NAME KIND HOST PORT TEXT`: it opens a connection, sends the text, and prints what
/// it got: `unreachable`, `silent`, or the first line. All at once, since an address that nobody has takes seconds.
const JOB: &str = r#"
declare -A attempts
talk() { attempt "$@" & attempts[$!]=$1; }
finish() {
    for ((i = 0; i < 15; i++)); do
        [ -z "$(jobs -r)" ] && return
        sleep 1
    done
    for attempt in "${!attempts[@]}"; do
        kill -KILL "$attempt" 2>/dev/null && echo "${attempts[$attempt]}: unreachable"
    done
}
attempt() {
    ( exec 3<>"/dev/$2/$3/$4" ) 2>/dev/null || { echo "$1: unreachable"; return; }
    exec 3<>"/dev/$2/$3/$4"
    { printf "$5" >&3; } 2>/dev/null
    # Of a datagram it reads the first byte, and then waits for more.
    read -r -t 3 line <&3 2>/dev/null
    line=${line%$'\r'}
    echo "$1: ${line:-silent}"
    exec 3>&-
}
proxy=${http_proxy#http://}
proxy_host=${proxy%:*} proxy_port=${proxy##*:}
connect() { talk "$1" tcp "$proxy_host" "$proxy_port" "CONNECT $2 HTTP/1.1\r\nHost: $2\r\n\r\n"; }
get() { talk "$1" tcp "$proxy_host" "$proxy_port" "GET http://$2/ HTTP/1.1\r\nHost: $2\r\nConnection: close\r\n\r\n"; }
"#;

/// Servers of the test on this machine, at all of its addresses.
struct Servers {
    /// That the tests allow.
    allowed: u16,
    /// That they do not, like the daemon's own port; TCP and UDP.
    other: u16,
}

impl Servers {
    async fn start() -> Self {
        let allowed = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
        let other = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
        let ports =
            Self { allowed: allowed.local_addr().unwrap().port(), other: other.local_addr().unwrap().port() };
        let datagrams = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, ports.other)).await.unwrap();
        for listener in [allowed, other] {
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    tokio::spawn(async move {
                        let mut request = [0; 1024];
                        if stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                            let _ = stream.write_all(ANSWER.as_bytes()).await;
                        }
                    });
                }
            });
        }
        tokio::spawn(async move {
            let mut request = [0; 1024];
            while let Ok((_, from)) = datagrams.recv_from(&mut request).await {
                let _ = datagrams.send_to(ANSWER.as_bytes(), from).await;
            }
        });
        ports
    }
}

/// An environment on the engine that most tests use, unless that is Podman, where egress is not supported.
async fn stand(engine: &TestEngine) -> Option<Stand> {
    let stand = Stand::on(engine).await;
    if stand.is_podman().await {
        // Not a print macro: the test harness would swallow it.
        let _ = writeln!(std::io::stderr(), "skipped: egress is not supported on Podman");
        return None;
    }
    Some(stand)
}

/// This machine's address for containers in the engine's usual network, and the network's gateway.
async fn machine(stand: &Stand, engine: &TestEngine) -> (IpAddr, String) {
    let gateway = gateway(stand, "bridge").await;
    (if engine.host.is_loopback() { gateway.parse().unwrap() } else { engine.host }, gateway)
}

/// The address that an engine gives its own side of a network.
async fn gateway(stand: &Stand, network: &str) -> String {
    let found = stand.engine.inspect_network(network, None::<InspectNetworkOptions>).await.unwrap();
    let config = found.ipam.and_then(|ipam| ipam.config).unwrap_or_default().into_iter().next().unwrap();
    config.gateway.unwrap_or_else(|| {
        let subnet = config.subnet.unwrap();
        let first: Ipv4Addr = subnet.split('/').next().unwrap().parse().unwrap();
        Ipv4Addr::from_bits(first.to_bits() + 1).to_string()
    })
}

async fn with_egress(stand: &Stand, mode: EgressMode, allow: &[&str], script: &str) -> Pool {
    let mut pool = stand.pool(script);
    pool.template.image = stand.bash_image().await;
    pool.template.command = ["/bin/bash", "-c", script].map(str::to_owned).to_vec();
    pool.template.network = Network::Default;
    // Tests are another program.
    let image = Some(EGRESS_PROXY.ensure(&stand.engine, BINARY.as_ref()).await.unwrap());
    let allow = allow.iter().map(|&text| text.to_owned()).collect();
    pool.template.egress = Some(Egress { mode, allow, image });
    pool
}

/// The addresses of a container by network.
async fn addresses(stand: &Stand, container: &str) -> BTreeMap<String, String> {
    let found = engines::inspect_container(&stand.engine, container).await.unwrap();
    let networks = found.network_settings.unwrap().networks.unwrap();
    networks.into_iter().map(|(name, network)| (name, network.ip_address.unwrap())).collect()
}

/// What each attempt of the script got.
fn results(log: &str) -> BTreeMap<&str, &str> {
    log.lines().filter_map(|line| line.split_once(": ")).collect()
}

/// Whether an attempt reached nothing. A datagram can always be sent.
fn is_nothing(attempt: &str, result: &str) -> bool {
    result == "unreachable" || attempt.contains("udp") && result == "silent"
}

/// Runs a runner of the pool to its end, and removes everything of it.
async fn run(stand: &Stand, runner: &RunnerName, pool: &Pool) -> String {
    let prepared = prepare(stand, runner, pool).await;
    let id = stand.create_prepared(runner, pool, &prepared).await.unwrap();
    stand.docker.start(&id).await.unwrap();
    let exit = stand.ended(&id).await;
    stand.docker.remove(&id).await.unwrap();
    stand.docker.detach(runner).await.unwrap();
    exit.log_tail.to_string()
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one line for each thing that a job may try")]
async fn a_job_reaches_what_is_allowed_through_its_proxy_and_nothing_in_any_other_way() {
    let engine = TestEngine::usual();
    let Some(stand) = stand(&engine).await else { return };
    let servers = Servers::start().await;
    let (machine, gateway_outside) = machine(&stand, &engine).await;
    let (allowed, other) = (format!("{machine}:{}", servers.allowed), servers.other);

    // Another runner of such a pool, which listens too.
    let neighbour = stand.name();
    let mut pool = with_egress(&stand, EgressMode::Enforce, &["github.com"], IDLE).await;
    let prepared = prepare(&stand, &neighbour, &pool).await;
    pool.template.image = pool.template.egress.clone().unwrap().image.unwrap();
    pool.template.command = ["egress-proxy", "--mode", "audit"].map(str::to_owned).to_vec();
    let listens = stand.create_prepared(&neighbour, &pool, &prepared).await.unwrap();
    stand.docker.start(&listens).await.unwrap();
    stand.logged(&listens, "listening").await;
    let neighbours = addresses(&stand, neighbour.as_str()).await[neighbour.as_str()].clone();
    let mut proxies = addresses(&stand, &format!("{neighbour}-proxy")).await;
    let proxy_inside = proxies.remove(neighbour.as_str()).unwrap();
    let (outside, proxy_outside) = proxies.pop_first().unwrap();

    let hello = r"GET / HTTP/1.1\r\n\r\n";
    let direct = format!(
        "
talk allowed_directly tcp {machine} {} '{hello}'
talk machine tcp {machine} {other} '{hello}'
talk machine_udp udp {machine} {other} hello
talk gateway tcp {gateway_outside} {other} '{hello}'
talk gateway_udp udp {gateway_outside} {other} hello
talk udp_of_google udp 8.8.8.8 53 hello
talk udp_of_machine udp {machine} 53 hello
talk internet tcp 1.1.1.1 443 '{hello}'
talk internet_6 tcp 2606:4700::1111 443 '{hello}'
talk internet_6_udp udp 2001:4860:4860::8888 53 hello
talk metadata tcp 169.254.169.254 80 '{hello}'
talk metadata_udp udp 169.254.169.254 53 hello
talk neighbour tcp {neighbours} 3128 '{hello}'
talk neighbours_proxy tcp {proxy_inside} 3128 '{hello}'
talk neighbours_proxy_outside tcp {proxy_outside} 3128 '{hello}'
talk name tcp github.com 443 '{hello}'
",
        servers.allowed
    );
    let script = format!(
        "{JOB}{direct}
# The engine's own address in the job's network, if it has one: all addresses around the job's and the proxy's.
for last in 1 2 3 4 254; do
    host=${{proxy_host%.*}}.$last
    talk \"near_$last\" tcp $host {other} '{hello}'
    talk \"near_udp_$last\" udp $host {other} hello
done
connect allowed {allowed}
get allowed_plain {allowed}
connect other_port {machine}:{other}
connect other_host evil.example:443
get other_plain evil.example
connect raw_address 1.1.1.1:443
connect raw_address_6 '[2606:4700::1111]:443'
connect metadata_by_proxy 169.254.169.254:80
get metadata_plain 169.254.169.254
connect itself 127.0.0.1:3128
connect neighbour_by_proxy {neighbours}:3128
connect neighbours_proxy_by_proxy {proxy_outside}:3128
finish
"
    );
    let pool = with_egress(&stand, EgressMode::Enforce, &[&allowed], &script).await;
    let log = run(&stand, &stand.name(), &pool).await;
    let got = results(&log);
    assert_eq!((got["allowed"], got["allowed_plain"]), ("HTTP/1.1 200 OK", "HTTP/1.1 200 OK"), "{log}");
    for refused in [
        "other_port",
        "other_host",
        "other_plain",
        "raw_address",
        "raw_address_6",
        "metadata_by_proxy",
        "metadata_plain",
        "itself",
        "neighbour_by_proxy",
        "neighbours_proxy_by_proxy",
    ] {
        assert_eq!(got[refused], "HTTP/1.1 403 Forbidden", "{refused}: {log}");
    }
    for unreachable in [
        "allowed_directly",
        "machine",
        "machine_udp",
        "gateway",
        "gateway_udp",
        "udp_of_google",
        "udp_of_machine",
        "internet",
        "internet_6",
        "internet_6_udp",
        "metadata",
        "metadata_udp",
        "neighbour",
        "neighbours_proxy",
        "neighbours_proxy_outside",
        "name",
    ] {
        assert!(is_nothing(unreachable, got[unreachable]), "{unreachable}: {log}");
    }
    for (attempt, result) in got.iter().filter(|(attempt, _)| attempt.starts_with("near_")) {
        assert!(is_nothing(attempt, result), "{attempt}: {log}");
    }

    // Without a proxy of its own, the same job reaches what there is: the attempts are worth something.
    let mut open = with_egress(&stand, EgressMode::Audit, &[], &format!("{JOB}{direct}finish\n")).await;
    open.template.egress = None;
    let log = run(&stand, &stand.name(), &open).await;
    let got = results(&log);
    let mut all = vec!["allowed_directly", "machine", "machine_udp"];
    if engine.host.is_loopback() {
        // Otherwise the gateway is no address of this machine's.
        all.extend(["gateway", "gateway_udp"]);
    }
    for reached in all {
        let answer = if reached.contains("udp") { "H" } else { "HTTP/1.1 200 OK" };
        assert_eq!(got[reached], answer, "{reached}: {log}");
    }
    assert!(got["neighbours_proxy_outside"].starts_with("HTTP/1.1 400"), "{outside}: {log}");

    stand.docker.stop(&listens, Duration::ZERO).await.unwrap();
    stand.docker.remove(&listens).await.unwrap();
    stand.docker.detach(&neighbour).await.unwrap();
    assert_eq!(left(&stand).await, (0, 0));
}

#[tokio::test]
async fn in_audit_mode_a_job_reaches_everything_but_metadata_and_has_no_other_way_either() {
    let engine = TestEngine::usual();
    let Some(stand) = stand(&engine).await else { return };
    let servers = Servers::start().await;
    let (machine, _) = machine(&stand, &engine).await;
    let script = format!(
        "{JOB}
connect listed_nowhere {machine}:{other}
connect metadata 169.254.169.254:80
talk directly tcp {machine} {other} hello
finish
",
        other = servers.other
    );
    let log = run(&stand, &stand.name(), &with_egress(&stand, EgressMode::Audit, &[], &script).await).await;
    let got = results(&log);
    assert_eq!(got["listed_nowhere"], "HTTP/1.1 200 OK", "{log}");
    assert_eq!((got["metadata"], got["directly"]), ("HTTP/1.1 403 Forbidden", "unreachable"), "{log}");
}

#[tokio::test]
async fn a_proxy_that_does_not_start_is_an_error_with_its_log_and_can_be_removed() {
    let Some(stand) = stand(&TestEngine::usual()).await else { return };
    let mut pool = with_egress(&stand, EgressMode::Enforce, &["github.com"], IDLE).await;
    let runner = stand.name();
    // An image that is none of Dayfly's, and exits.
    pool.template.egress.as_mut().unwrap().image = Some(stand.image.clone());
    let error = try_prepare(&stand, &runner, &pool).await.unwrap_err();
    assert!(matches!(error, HostError::Refused(_)), "the image has no such command: {error:?}");
    assert_eq!(left(&stand).await, (0, 2));
    stand.docker.detach(&runner).await.unwrap();

    // A pattern that the configuration would not have accepted.
    let pool = with_egress(&stand, EgressMode::Enforce, &["https://github.com"], IDLE).await;
    let error = try_prepare(&stand, &runner, &pool).await.unwrap_err();
    let HostError::EgressNotReady(text) = error else { panic!("{error:?}") };
    assert!(text.contains("its container exited") && text.contains("https://github.com"), "{text}");
    assert_eq!(left(&stand).await, (0, 2));
    stand.docker.detach(&runner).await.unwrap();
    assert_eq!(left(&stand).await, (0, 0));
}

//! The responses to deliveries, and what is reported of them.

use dayfly::{
    fleet::{JobId, JobState, Scope},
    github::{Identities, webhook::Secrets},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{DEADLINE, Delivery, SECRET, Server, payload, queued, signature};

#[tokio::test]
async fn without_a_secret_there_is_no_webhook() {
    let server = Server::start_with(None).await;
    assert_eq!(server.deliver(queued("1", 1)).await, 404);
    assert!(server.reported().is_empty());
}

#[tokio::test]
async fn a_signed_job_is_accepted_and_reported_as_a_hint() {
    let server = Server::start().await;
    assert_eq!(server.send("POST", queued("1", 70_000_000_001)).await, (202, "accepted".to_owned()));
    let reported = server.reported();
    assert_eq!((reported[0].0.id, reported[0].1.clone()), (JobId(70_000_000_001), JobState::Queued));
    assert_eq!(server.counted("workflow_job", "accepted"), 1);
    assert_eq!(server.counted("workflow_job", "bad_signature"), 0);
}

#[tokio::test]
async fn a_form_is_signed_as_it_was_sent() {
    let server = Server::start().await;
    let json = payload("queued", 1).to_string();
    let form: String = std::iter::once("payload=".to_owned())
        .chain(json.bytes().map(|byte| format!("%{byte:02X}")))
        .collect();
    let delivery = Delivery::new("workflow_job", "1", form.clone());
    let kind = "application/x-www-form-urlencoded";
    assert_eq!(server.deliver(delivery.clone().with("content-type", kind)).await, 202);
    let over_the_payload = signature(SECRET, json.as_bytes());
    let wrong = delivery.with("content-type", kind).with("x-hub-signature-256", &over_the_payload);
    assert_eq!(server.deliver(wrong).await, 401);
    assert_eq!(server.reported().len(), 1);
}

#[tokio::test]
async fn what_is_not_signed_with_the_secret_gets_one_answer_whatever_is_wrong() {
    let server = Server::start().await;
    let good = queued("1", 1);
    let right = good.headers["x-hub-signature-256"].clone();
    let mut answers = std::collections::BTreeSet::new();
    let spoiled = [
        good.clone().without("x-hub-signature-256"),
        good.clone().with("x-hub-signature-256", ""),
        good.clone().with("x-hub-signature-256", "sha256=00"),
        good.clone().with("x-hub-signature-256", &signature("another", &good.body)),
        good.clone().with("x-hub-signature-256", &right.replace("sha256", "sha1")),
        Delivery { body: [good.body.as_slice(), b" "].concat(), ..good.clone() },
        Delivery { body: Vec::new(), ..good.clone() },
        good.clone().with("x-github-event", "ping").without("x-hub-signature-256"),
    ];
    let many = u64::try_from(spoiled.len()).unwrap();
    for delivery in spoiled {
        answers.insert(server.send("POST", delivery).await);
    }
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers.first().unwrap().0, 401);
    assert!(server.reported().is_empty());
    let counted = server.counted("workflow_job", "bad_signature") + server.counted("ping", "bad_signature");
    assert_eq!(counted, many);
    assert_eq!(server.deliver(good).await, 202, "a refused delivery does not use its id up");
}

#[tokio::test]
async fn a_ping_is_welcomed_and_unknown_events_are_ignored() {
    let server = Server::start().await;
    assert_eq!(server.send("POST", Delivery::new("ping", "1", "{}")).await, (200, "pong".to_owned()));
    assert_eq!(server.deliver(Delivery::new("workflow_run", "2", "{}")).await, 202);
    assert_eq!(server.deliver(Delivery::new("workflow_run", "3", "no json")).await, 202);
    assert_eq!(server.deliver(Delivery::new("x", "4", "{}").without("x-github-event")).await, 202);
    let unknown = payload("requeued", 1).to_string();
    assert_eq!(server.deliver(Delivery::new("workflow_job", "5", unknown)).await, 202);
    assert!(server.reported().is_empty());
    assert_eq!((server.counted("ping", "accepted"), server.counted("other", "ignored")), (1, 3));
    assert_eq!(server.counted("workflow_job", "ignored"), 1);
}

#[tokio::test]
async fn what_comes_twice_is_reported_once_but_only_when_it_was_accepted() {
    let server = Server::start().await;
    server.room.store(0, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(server.deliver(queued("1", 1)).await, 503, "GitHub's log keeps it");
    server.room.store(10, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(server.deliver(queued("1", 1)).await, 202);
    assert_eq!(server.send("POST", queued("1", 1)).await, (202, "already received".to_owned()));
    assert_eq!(
        server.deliver(queued("2", 1)).await,
        202,
        "another delivery of the same is the core's to know"
    );
    let nameless = queued("3", 1).without("x-github-delivery");
    assert_eq!(server.deliver(nameless.clone()).await, 202);
    assert_eq!(server.deliver(nameless).await, 202);
    assert_eq!(server.reported().len(), 4);
    assert_eq!(server.counted("workflow_job", "overloaded"), 1);
    assert_eq!(server.counted("workflow_job", "duplicate"), 1);
}

#[tokio::test]
async fn what_is_no_delivery_is_refused_with_the_reason() {
    let server = Server::start().await;
    let (status, why) = server.send("POST", Delivery::new("workflow_job", "1", "{}")).await;
    assert_eq!(status, 400, "{why}");
    let kind = queued("1", 1).with("content-type", "text/plain");
    let (status, why) = server.send("POST", kind).await;
    assert_eq!((status, why.contains("application/json")), (415, true), "{why}");
    assert_eq!(server.deliver(queued("1", 1).without("content-type")).await, 415);
    let (status, why) = server.send("GET", queued("1", 1)).await;
    assert_eq!((status, why.as_str()), (405, r#"{"error":"/webhook accepts POST only"}"#));
    assert!(server.reported().is_empty());
    assert_eq!(server.counted("workflow_job", "malformed"), 1);
    assert_eq!(server.counted("workflow_job", "unsupported"), 2);
}

/// The status of the response to a raw request.
async fn raw(server: &Server, head: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST /webhook HTTP/1.1\r\nhost: dayfly\r\nconnection: close\r\ncontent-type: application/json\r\n\
         x-github-event: workflow_job\r\n{head}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // The answer may come, and the connection go, before all of it is written.
    let _ = stream.write_all(body).await;
    let mut answer = [0; 12];
    timeout(DEADLINE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    String::from_utf8(answer.to_vec()).unwrap()
}

#[tokio::test]
async fn a_body_of_more_than_a_mebibyte_is_not_accepted() {
    let server = Server::start().await;
    let text = |length: usize| {
        let empty = r#"{"a":""}"#.len();
        format!(r#"{{"a":"{}"}}"#, "x".repeat(length - empty))
    };
    assert_eq!(server.deliver(Delivery::new("issues", "1", text(1 << 20))).await, 202);
    // Said to be too large: refused before it comes.
    assert_eq!(raw(&server, "content-length: 1048577", b"").await, "HTTP/1.1 413");
    // Not said: refused once it is.
    let chunk = [&b"100001\r\n"[..], &vec![b' '; 0x10_0001], b"\r\n0\r\n\r\n"].concat();
    assert_eq!(raw(&server, "transfer-encoding: chunked", &chunk).await, "HTTP/1.1 413");
    assert_eq!(server.counted("workflow_job", "too_large"), 2);
}

#[tokio::test]
async fn bodies_that_do_not_come_take_room_from_no_one_for_long() {
    let server = Server::start().await;
    let mut slow = Vec::new();
    for _ in 0..32 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let head = "POST /webhook HTTP/1.1\r\nhost: dayfly\r\ncontent-type: application/json\r\n\
                    content-length: 1048576\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    // What has not come takes no room at all.
    assert_eq!(server.deliver(queued("0", 1)).await, 202);
    let mut answer = [0; 12];
    for stream in &mut slow {
        timeout(DEADLINE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 408");
    }
    assert_eq!(server.deliver(queued("1", 1)).await, 202);
}

#[tokio::test]
async fn the_secret_can_be_changed_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, "old\n").unwrap();
    let server = Server::start_with(Some(Secrets::in_file(path.clone()).unwrap())).await;
    let signed = |id: &str, secret: &str| {
        let delivery = queued(id, 1);
        let signature = signature(secret, &delivery.body);
        delivery.with("x-hub-signature-256", &signature)
    };
    assert_eq!(server.deliver(signed("1", "old")).await, 202);
    std::fs::write(&path, "old\nnew\n").unwrap();
    assert_eq!(server.deliver(signed("2", "old")).await, 202);
    assert_eq!(server.deliver(signed("3", "new")).await, 202);
    std::fs::write(&path, "new\n").unwrap();
    assert_eq!(server.deliver(signed("4", "old")).await, 401);
    assert_eq!(server.deliver(signed("5", "new")).await, 202);
}

#[tokio::test]
async fn a_job_of_what_was_renamed_is_reported_under_the_address_of_the_configuration() {
    let scope = |path: &str| format!("https://github.com/{path}").parse::<Scope>().unwrap();
    let identities = Identities::default();
    identities.learn(&scope("acme/widgets"), 20, &scope("acme/widgets"));
    identities.learn(&scope("acme"), 1, &scope("acme"));
    let server = Server::start_knowing(vec![Identities::default(), identities]).await;
    for (job, name, repository, owner) in [
        (1, "acme/gadgets", 20, 1),
        (2, "elsewhere/widgets", 20, 9),
        (3, "newacme/tools", 21, 1),
        (4, "x/y", 22, 9),
    ] {
        let mut body = payload("queued", job);
        body["repository"] = json!({
            "id": repository, "html_url": format!("https://github.com/{name}"), "private": true,
            "owner": { "id": owner },
        });
        let id = format!("id-{job}");
        assert_eq!(server.deliver(Delivery::new("workflow_job", &id, body.to_string())).await, 202);
    }
    let reported: Vec<Scope> =
        server.reported().iter().map(|(job, _)| job.facts.repository.clone()).collect();
    assert_eq!(reported, ["acme/widgets", "acme/widgets", "acme/tools", "x/y"].map(scope));
}

#[tokio::test]
async fn an_organization_and_its_repository_agree_on_a_job_and_a_new_one_of_the_name_gets_no_runners() {
    let scope = |path: &str| format!("https://github.com/{path}").parse::<Scope>().unwrap();
    let (organization, repository) = (Identities::default(), Identities::default());
    organization.learn(&scope("acme"), 1, &scope("newacme"));
    repository.learn(&scope("acme/widgets"), 20, &scope("newacme/gadgets"));
    let server = Server::start_knowing(vec![organization, repository.clone()]).await;
    for (job, name, id) in [(1, "newacme/gadgets", 20), (2, "acme/widgets", 20), (3, "acme/widgets", 99)] {
        let mut body = payload("queued", job);
        body["repository"] = json!({
            "id": id, "html_url": format!("https://github.com/{name}"), "private": true, "owner": { "id": 1 },
        });
        let delivery = Delivery::new("workflow_job", &job.to_string(), body.to_string());
        assert_eq!(server.deliver(delivery).await, 202);
    }
    let reported: Vec<Scope> =
        server.reported().iter().map(|(job, _)| job.facts.repository.clone()).collect();
    assert_eq!(reported, ["acme/widgets", "acme/widgets"].map(scope));
    assert_eq!(server.counted("workflow_job", "ignored"), 1);
    assert_eq!(repository.current(&scope("acme/widgets")), scope("newacme/gadgets"));
}

//! The same client and loop against the emulator of the crate `scaleset`: a server that none of us
//! wrote. It is a program of its own, since the crate brings a second TLS provider along;
//! `.ci/run` installs it, and DAYFLY_SCALESET_EMULATOR says where it is.

use std::{io::BufRead as _, process::Stdio, time::Duration};

use dayfly::{
    fleet::{Evidence, RegistrationId},
    github::{GithubError, RunnerApi as _, scale_set::ScaleSets},
};
use http_body_util::{BodyExt as _, Full};
use hyper::{Method, Request};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::{Value, json};

use super::stand::{DEADLINE, Served, delete, is_trouble, is_up, is_waiting, pool, sets};

/// A running emulator; it ends with the handle.
struct Emulator {
    process: std::process::Child,
    addresses: Value,
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // It has nothing to tidy up.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

impl Emulator {
    /// `None`, with a message, where there is none.
    fn start(more: &[&str]) -> Option<Self> {
        let Some(program) = std::env::var_os("DAYFLY_SCALESET_EMULATOR") else {
            let why = "DAYFLY_SCALESET_EMULATOR is not set: nothing is tried against the crate's emulator";
            std::io::Write::write_all(&mut std::io::stderr(), format!("{why}\n").as_bytes()).unwrap();
            return None;
        };
        let mut process = std::process::Command::new(program)
            .args(["--port", "0", "--long-poll-ms", "100"])
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the emulator starts");
        let mut line = String::new();
        std::io::BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Some(Self { process, addresses: serde_json::from_str(&line).expect("it tells its addresses") })
    }

    fn sets(&self) -> (tempfile::TempDir, ScaleSets) {
        sets(self.addresses["config_url"].as_str().unwrap(), "ghp_emulator")
    }

    async fn control(&self, method: Method, path: &str, body: Value) -> Value {
        let address = format!("{}/{path}", self.addresses["control_url"].as_str().unwrap());
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::builder()
            .method(method)
            .uri(address)
            .header("content-type", "application/json")
            .body(Full::<bytes::Bytes>::from(body))
            .unwrap();
        let client = Client::builder(TokioExecutor::new()).build_http();
        let answer = tokio::time::timeout(DEADLINE, client.request(request)).await.unwrap().unwrap();
        assert!(answer.status().is_success(), "{}", answer.status());
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&body).unwrap_or_default()
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        self.control(Method::POST, path, body).await
    }

    async fn set(&self) -> i64 {
        let state = self.control(Method::GET, "state", Value::Null).await;
        let set = state.pointer("/scaleSets/0/id").or_else(|| state.pointer("/scale_sets/0/id"));
        set.and_then(Value::as_i64).unwrap_or_else(|| panic!("no set: {state}"))
    }

    async fn queue(&self) -> i64 {
        let queued = self.post("jobs", json!({ "scaleSetId": self.set().await, "labels": ["linux"] })).await;
        queued["runnerRequestId"].as_i64().unwrap()
    }
}

#[tokio::test]
async fn a_job_goes_from_the_queue_to_its_end() {
    let Some(emulator) = Emulator::start(&[]) else { return };
    let (_directory, sets) = emulator.sets();
    let served = Served::begin(&sets, pool("linux", &["linux", "x64"]));
    served.heard("up", 1, is_up).await;
    let job = emulator.queue().await;
    served.assigned(1).await;
    let minted = served.mint("linux").await.unwrap();
    assert!(matches!(served.mint("linux").await, Err(GithubError::NameTaken)));
    let name = "dayfly-linux-ci1-01hzzzzzzzzzzzzzzzzzzzzzzz";
    assert_eq!(served.runners.find(name).await.unwrap(), Some(minted.id));
    emulator.post(&format!("jobs/{job}/start"), json!({ "runnerName": name })).await;
    assert!(matches!(served.runners.delete(minted.id).await, Err(GithubError::Busy)));
    emulator.post(&format!("jobs/{job}/complete"), json!({ "result": "failed" })).await;
    let is_over = |evidence: &Evidence| matches!(evidence, Evidence::JobOver { runner } if runner == name);
    served.heard("the end", 1, is_over).await;
    served.assigned(0).await;
    assert!(matches!(served.runners.delete(RegistrationId(1)).await, Err(GithubError::NotFound)));
    assert_eq!(served.count(is_trouble), 0);
    served.end().await;
    assert!(delete(&sets, "linux").await.unwrap());
}

#[tokio::test]
async fn tokens_and_sessions_are_lost_and_made_again() {
    let Some(emulator) = Emulator::start(&[]) else { return };
    let (_directory, sets) = emulator.sets();
    let served = Served::begin(&sets, pool("linux", &["linux"]));
    served.heard("up", 1, is_up).await;
    let set = emulator.set().await;
    emulator.post(&format!("expire/queue-token/{set}"), Value::Null).await;
    emulator.post("expire/admin-tokens", Value::Null).await;
    served.heard("up after a refresh", 2, is_up).await;
    assert_eq!(served.count(is_trouble), 0);
    emulator.post(&format!("expire/session/{set}"), Value::Null).await;
    served.heard("the loss", 1, is_trouble).await;
    served.heard("up after a loss", 3, is_up).await;
    let fault =
        json!({ "endpoint": "acquireJobs", "response": { "kind": "status", "status": 503 }, "times": 2 });
    emulator.post("faults", fault).await;
    emulator.queue().await;
    served.assigned(1).await;
    assert_eq!(served.count(is_trouble), 3);
    served.end().await;
}

#[tokio::test]
async fn a_set_in_use_by_another_client_is_waited_for() {
    let Some(emulator) = Emulator::start(&["--runner-group", "gpu"]) else { return };
    let (_directory, sets) = emulator.sets();
    let in_gpu = || {
        let mut pool = pool("linux", &["linux"]);
        pool.group = "gpu".to_owned();
        pool
    };
    let first = Served::begin(&sets, in_gpu());
    first.heard("up", 1, is_up).await;
    let second = Served::begin(&sets, in_gpu());
    second.heard("waiting", 2, is_waiting).await;
    assert!(second.mint("linux").await.is_err());
    first.end().await;
    second.heard("up", 1, is_up).await;
    second.end().await;
}

#[tokio::test]
async fn sixty_jobs_are_acquired_and_an_idle_poll_lasts() {
    let Some(emulator) = Emulator::start(&[]) else { return };
    let (_directory, sets) = emulator.sets();
    let served = Served::begin(&sets, pool("linux", &["linux"]));
    served.heard("up", 1, is_up).await;
    for _ in 0..60 {
        emulator.queue().await;
    }
    served.assigned(60).await;
    let up = served.count(is_up);
    served.heard("the same once more", up + 1, is_up).await;
    assert_eq!(served.count(is_trouble), 0);
    tokio::time::timeout(Duration::from_secs(10), served.end()).await.unwrap();
}

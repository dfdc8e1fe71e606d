//! That no token and no JIT config is logged, at any level.

use secrecy::ExposeSecret as _;

use super::stand::{Served, is_up, pool, quick, stand};
use crate::captured_log::CapturedLog;

#[tokio::test]
async fn no_secret_shows_in_logs_at_any_level_under_the_caps() {
    let log = CapturedLog::default();
    let _guard = log.listen();
    let (simulator, _directory, sets) = stand(quick()).await;
    let served = Served::begin(&sets, pool("linux", &["linux"]));
    served.heard("up", 1, is_up).await;
    let minted = served.mint("linux").await.unwrap();
    simulator.scale_sets().expire_queue_tokens();
    served.heard("up after a refresh", 2, is_up).await;
    let secrets = simulator.scale_sets().tokens();
    served.end().await;
    let logged = log.text();
    assert!(logged.contains("endpoint=\"poll\"") && logged.contains("activity="), "{logged}");
    assert!(secrets.len() >= 3, "registration, service and queue have tokens");
    for secret in secrets.iter().map(String::as_str).chain([minted.jit.expose_secret(), "simulated-token"]) {
        assert!(!logged.contains(secret), "{secret} in {logged}");
    }
}

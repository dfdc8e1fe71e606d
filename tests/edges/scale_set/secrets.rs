//! That no token and no JIT config is logged, at any level.

use std::sync::{Arc, Mutex};

use dayfly::github::LOG_CAPS;
use secrecy::ExposeSecret as _;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::EnvFilter;

use super::stand::{Served, is_up, pool, quick, stand};

/// Keeps what is logged.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Keeps what this thread logs at this level, under the caps, until the guard is dropped.
    pub(crate) fn listen(&self, level: &str) -> DefaultGuard {
        let writer = self.clone();
        let caps = LOG_CAPS.iter().map(|cap| cap.parse().unwrap());
        let filter = caps.fold(EnvFilter::new(level), EnvFilter::add_directive);
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_env_filter(filter)
            .with_writer(move || writer.clone())
            .finish();
        crate::subscribers::allow_several();
        tracing::subscriber::set_default(subscriber)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_secret_shows_in_logs_at_any_level_under_the_caps() {
    let log = Log::default();
    let _guard = log.listen("trace");
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

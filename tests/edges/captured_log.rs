//! What a test's own thread logs, under the caps that the program has.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use dayfly::github::LOG_CAPS;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::EnvFilter;

/// Keeps what is logged.
#[derive(Clone, Default)]
pub(crate) struct CapturedLog(Arc<Mutex<Vec<u8>>>);

impl CapturedLog {
    /// Keeps everything that the caps let pass, until the guard is dropped.
    pub(crate) fn listen(&self) -> DefaultGuard {
        self.listen_at("trace")
    }

    /// The same from this level on.
    pub(crate) fn listen_at(&self, level: &str) -> DefaultGuard {
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

impl Write for CapturedLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

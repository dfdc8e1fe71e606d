//! The daemon's web server: what it shows is the last pass's report, and what it takes in is only put
//! down, so no answer waits for GitHub or an engine.

mod names;
mod pages;
mod server;
mod status;
mod webhook;

pub use names::HostNames;
pub use pages::App;
pub use server::{Patience, serve, serve_with};
pub use status::Snapshot;
pub use webhook::{GithubClock, Recorder, Sink, Webhook};

//! The daemon's web server. It shows the report of the last pass and queues what it receives, so no response
//! waits for GitHub or an engine.

mod about;
mod names;
mod pages;
mod server;
pub mod status_document;
mod webhook;

pub use about::{About, AboutEngine};
pub use names::HostNames;
pub use pages::{App, Rates};
pub use server::{Patience, serve, serve_with};
pub use webhook::{GithubClock, Recorder, Sink, Webhook};

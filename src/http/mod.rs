//! The daemon's web server: what it shows is the last pass's report, so no answer waits for GitHub
//! or an engine.

mod pages;
mod server;
mod status;

pub use pages::App;
pub use server::serve;
pub use status::Snapshot;

//! The GitHub edge over a real socket, against a server that each test scripts with a closure.

mod apps;
mod deliveries;
mod enterprise;
mod expiry;
mod limits;
mod listing;
mod network;
mod origin;
mod queue;
mod runner;
mod runner_api;
mod transport;
mod watch;
mod world;

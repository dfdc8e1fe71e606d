//! The GitHub edge over a real socket, against a server that each test scripts with a closure.

mod apps;
mod by_hand;
mod deliveries;
mod enterprise;
mod expiry;
mod limits;
mod listing;
mod network;
mod queue;
mod runner;
mod transport;
mod watch;
mod world;

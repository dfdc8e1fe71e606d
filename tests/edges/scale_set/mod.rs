//! Runner scale sets: the client and the loop that holds a session, against the simulator and against the
//! emulator of the crate `scaleset`, an independent implementation of the same service.

mod client;
mod emulator;
mod removal;
mod runners;
mod secrets;
mod service;
mod session;
mod stand;
mod trouble;

//! The Docker edge against a real Docker Engine: what containers really get, how they end, and what
//! the engine tells of them. Without an engine these tests fail, saying so.

mod asked;
mod connect;
mod end;
mod launch;
mod life;
mod pull;
mod stand;
mod watch;

//! The Docker edge against a real Docker Engine: what containers actually get, how they exit, and what the
//! engine reports of them. Without an engine these tests fail with a message.

mod asked;
mod attachments;
mod caches;
mod connect;
mod egress;
mod end;
mod launch;
mod life;
mod pull;
mod runner_volume;
mod stand;
mod surroundings;
mod watch;

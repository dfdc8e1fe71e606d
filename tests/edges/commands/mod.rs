//! The commands as people run them: the program itself, against the simulator and a real engine.

mod check;
mod explain;
mod logs;
mod purge;
mod runner_api;
mod runners;
mod stand;
mod status;
mod version;

//! The egress proxy over real sockets, with names and addresses that the tests choose.

mod destinations;
mod limits;
mod program;
mod requests;
mod stand;

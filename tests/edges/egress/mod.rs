//! The egress proxy over real sockets, with names and addresses that the tests choose.

mod destinations;
mod image;
mod limits;
mod program;
mod requests;
mod stand;

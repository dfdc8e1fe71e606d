//! Where a pool's demand comes from when somebody tells of it: for now, runner scale sets.
//!
//! A source knows its pool and GitHub. It tells news, and decides nothing about runners.

pub mod scale_set;

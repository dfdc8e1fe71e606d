//! The shell around the core: it feeds evidence in and carries plans out.

mod edges;

pub use edges::{Edges, STOP_GRACE, chain};

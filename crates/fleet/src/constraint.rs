//! What a node of a cluster must be to run a pool's runners.

use std::fmt;

/// What a node must be, or not be, to run a pool's runners.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Constraint {
    /// `node.labels.disk`, for example.
    pub attribute: String,
    /// Whether the values must be equal, or must not.
    pub equal: bool,
    pub value: String,
}

impl fmt::Display for Constraint {
    /// As the engine reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.attribute, if self.equal { "==" } else { "!=" }, self.value)
    }
}

//! A scale set as tests see it.

/// A scale set as it is.
#[derive(Clone, Debug)]
pub struct ScaleSetView {
    /// Its number.
    pub id: i64,
    /// Path of its scope.
    pub scope: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: Vec<String>,
    /// Whose session is open, if one is.
    pub owner: Option<String>,
    /// How many of its jobs are waiting or running.
    pub assigned: usize,
    /// How many messages wait to be acknowledged or sent.
    pub unheard: usize,
    /// The capacity that the last poll reported.
    pub capacity: u32,
    /// Names of its runners.
    pub runners: Vec<String>,
}

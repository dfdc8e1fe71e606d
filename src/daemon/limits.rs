//! The limit of open files: each connection is one, and the usual soft limit is for programs that use
//! `select`, which this one does not.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::debug;

/// Raises the soft limit to the hard one.
pub(super) fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let raised = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    // A sandbox may forbid it, which shows only when no more files can be opened, and is reported then.
    debug!(from = limit.current, to = limit.maximum, ?raised, "raised the limit of open files");
}

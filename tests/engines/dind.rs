//! The image of a Docker Engine that `tests/engines/up` brings onto the engines that it starts.

/// Used as `docker:dind` is; has the `docker` command and a shell.
pub(crate) const IMAGE: &str = "dayfly-test/dind:1";

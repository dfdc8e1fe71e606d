//! Which kind of scope a path is.

/// Whether the path of a scope is that of an enterprise.
pub(super) fn is_enterprise(scope: &str) -> bool {
    scope.starts_with("enterprises/")
}

/// Whether the path of a scope is that of a repository.
pub(super) fn is_repository(scope: &str) -> bool {
    scope.contains('/') && !is_enterprise(scope)
}

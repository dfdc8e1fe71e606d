//! A pool's own credentials for the registry of its image.

use std::collections::BTreeMap;

use super::{file, findings::At, model::PoolConfig, reading::Reading};
use crate::host::RegistryLogin;

impl Reading<'_> {
    /// Reads the credentials, where they are written.
    pub(super) fn registry_login(&self, written: &file::Container, at: &At<'_>) -> Option<RegistryLogin> {
        let (at_name, at_file) = (at.key("registry_username"), at.key("registry_password_file"));
        if at_name.is_broken() || at_file.is_broken() {
            return None;
        }
        match (&written.registry_username, &written.registry_password_file) {
            (None, None) => None,
            (Some(_), None) => {
                at_name.error("has no password", "set registry_password_file to the file that contains it");
                None
            }
            (None, Some(_)) => {
                at_file.error("has no user", "set registry_username");
                None
            }
            (Some(name), Some(path)) => {
                let named = at_name.require(!name.trim().is_empty(), "must not be empty", "");
                let path = self.secret_file(path, &at_file);
                named.then_some(RegistryLogin { username: name.clone(), password_file: path? })
            }
        }
    }
}

/// Rejects two credentials for one image on one host: it is pulled once, for all pools.
pub(super) fn one_login_an_image(pools: &[(usize, PoolConfig)], at: &At<'_>) {
    let mut first = BTreeMap::new();
    for (i, PoolConfig { pool, login, .. }) in pools {
        let Some(login) = login else { continue };
        let image = &pool.template.image;
        let others = pool.hosts.iter().map(|host| *first.entry((host, image)).or_insert((login, &pool.name)));
        // Each host has its own, so all are looked up.
        let others: Vec<_> = others.collect();
        if let Some((_, name)) = others.into_iter().find(|(other, _)| *other != login) {
            at.key(i).key("container").key("registry_username").error(
                format_args!(
                    "and its password must be as in pool {:?}: the image of both is pulled once for their host",
                    name.as_str()
                ),
                "set the same in both, or leave both keys out in one",
            );
        }
    }
}

//! Which installation a runner belongs to.

use std::fmt;

use serde::Serialize;

use crate::fleet::{InstanceId, RunnerName};

/// Which installation a runner belongs to, by its name.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Whose {
    pub(super) ours: bool,
    /// The Dayfly instance that minted it; `None` when Dayfly did not.
    instance: Option<String>,
    pool: Option<String>,
}

impl Whose {
    pub(super) fn of(name: &str, us: Option<&InstanceId>) -> Self {
        let name = RunnerName::parse(name);
        Self {
            ours: name.as_ref().is_some_and(|name| us.is_some_and(|us| name.instance() == us.as_str())),
            instance: name.as_ref().map(|name| name.instance().to_owned()),
            pool: name.as_ref().map(|name| name.pool().to_owned()),
        }
    }
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.instance, &self.pool) {
            (Some(_), Some(pool)) if self.ours => write!(f, "ours, pool {pool}"),
            (Some(instance), _) => write!(f, "dayfly instance {instance}"),
            (None, _) => f.write_str("not Dayfly's"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{PoolName, Timestamp};

    #[test]
    fn a_runner_belongs_to_this_instance_another_one_or_none() {
        let pool: PoolName = "linux".parse().unwrap();
        let [us, them]: [InstanceId; 2] = ["ci1", "ci2"].map(|name| name.parse().unwrap());
        let name = |instance| RunnerName::new(&pool, instance, Timestamp::from_millis(1), 7);
        let whose = |name: &str| Whose::of(name, Some(&us)).to_string();
        assert_eq!(whose(name(&us).as_str()), "ours, pool linux");
        assert_eq!(whose(name(&them).as_str()), "dayfly instance ci2");
        assert_eq!(whose("dayfly-like"), "not Dayfly's");
        assert!(Whose::of(name(&us).as_str(), Some(&us)).ours && !Whose::of(name(&them).as_str(), None).ours);
    }
}

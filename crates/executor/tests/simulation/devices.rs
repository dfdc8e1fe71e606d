//! Rule 5, as far as devices go: each is one runner's, until its container is gone.

use dayfly_fleet::{DeviceClass, Devices, HostName, PoolName, RunnerName};

use crate::{daemon::Day, world::World};

/// A device that two have.
fn shared<'a>(one: &'a Devices, other: &Devices) -> Option<(&'a DeviceClass, &'a String)> {
    one.0.iter().find_map(|(class, ids)| {
        let others = other.0.get(class)?;
        ids.iter().find(|id| others.contains(*id)).map(|id| (class, id))
    })
}

impl World {
    /// When a container is created.
    pub(crate) fn check_devices(
        &mut self,
        host: usize,
        runner: &RunnerName,
        devices: &Devices,
        belated: bool,
    ) {
        let none = Devices::default();
        if self.promised.get(runner).unwrap_or(&none) != devices {
            self.breach(5, &format!("{runner} does not get the devices of its launch: {devices:?}"));
        }
        // A request of a daemon that was killed may be carried out after the next one has listed the host. The
        // container is never started.
        if devices.is_empty() || belated {
            return;
        }
        if let Some(what) = self.held(host, devices) {
            self.breach(5, &format!("{runner} gets what another has: {what}"));
        }
    }

    /// Which of these devices a container has, and which container.
    fn held(&self, host: usize, devices: &Devices) -> Option<String> {
        self.present[host].iter().map(|&c| &self.containers[c]).filter(|c| !c.belated).find_map(|c| {
            let (class, id) = shared(&c.devices, devices)?;
            Some(format!("{class} {id} of {}", c.runner))
        })
    }
}

impl Day {
    /// When a launch is planned.
    pub(crate) fn check_free(
        &mut self,
        runner: &RunnerName,
        pool: &PoolName,
        host: &HostName,
        devices: &Devices,
    ) {
        let (Some(pool), Some(host)) = (self.pool_index(pool), self.host_index(host)) else { return };
        let mut world = self.world();
        let needed = &world.setting.pools[pool].pool.template.devices;
        let has = &world.setting.hosts[host].devices;
        let mut wrong = None;
        for (class, ids) in &devices.0 {
            let exists = |id| has.get(class).is_none_or(|has| has.contains(id));
            if needed.get(class).is_none_or(|count| ids.len() != *count as usize) || !ids.iter().all(exists) {
                wrong = Some(format!("{class} {ids:?}, which is not what it needs"));
            }
        }
        if devices.0.len() != needed.len() {
            wrong = Some("not all that it needs".to_owned());
        }
        if devices.is_empty() && wrong.is_none() {
            return;
        }
        wrong = wrong.or_else(|| world.held(host, devices)).or_else(|| {
            let mut others = self.in_flight.iter().filter(|(_, (_, at))| *at == host);
            others.find_map(|(other, _)| {
                let (class, id) = shared(world.promised.get(other)?, devices)?;
                Some(format!("{class} {id}, planned for {other}"))
            })
        });
        if let Some(what) = wrong {
            world.breach(5, &format!("{runner} is to get {what}"));
        }
        world.promised.insert(runner.clone(), devices.clone());
    }
}

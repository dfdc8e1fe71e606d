//! What some pools need beside a container, and what hosts have of it: networks, sidecars and devices. By a chance
//! of its own, so that the rest of a day goes as it would without.

use std::{collections::BTreeMap, time::Duration};

use dayfly_fleet::{DeviceClass, DeviceCounts, Dind, DockerMode, HostName, Network, Placement, Resources};

use crate::{
    random::Random,
    setting::{GIB, PoolSetting},
};

/// The most devices that a runner gets of one class.
const MOST: u32 = 2;

fn serial() -> DeviceClass {
    DeviceClass::Exclusive("serial".to_owned())
}

/// Gives pools what they need beside a container.
pub(crate) fn furnish(random: &mut Random, pools: &mut [PoolSetting]) {
    for pool in pools {
        let template = &mut pool.pool.template;
        if random.chance(350) {
            template.network = Network::Isolated;
        }
        if random.chance(350) {
            template.docker = DockerMode::Dind(Dind {
                image: "docker:dind".to_owned(),
                resources: Resources { memory: random.within(1, 2) * GIB, cpu_millis: 500 },
                registry_mirrors: Vec::new(),
                mtu: None,
                start_timeout: Duration::from_secs(30),
            });
        }
        for (class, permille) in
            [(DeviceClass::Gpu, 300), (serial(), 200), (DeviceClass::Slot("cargo".to_owned()), 150)]
        {
            if random.chance(permille) {
                let slots = matches!(class, DeviceClass::Slot(_));
                let count =
                    if slots { 1 } else { u32::try_from(random.within(1, MOST.into())).expect("few") };
                template.devices.insert(class, count);
            }
        }
    }
}

/// Puts some pools on several hosts.
pub(crate) fn spread(random: &mut Random, pools: &mut [PoolSetting], hosts: &[HostName]) {
    for setting in pools.iter_mut().filter(|_| hosts.len() > 1) {
        setting.pool.policy.weight = random.of(&[1, 1, 3]);
        if !random.chance(500) {
            continue;
        }
        let own = setting.hosts[0];
        setting.hosts.extend((0..hosts.len()).filter(|&other| other != own));
        setting.pool.hosts = setting.hosts.iter().map(|&host| hosts[host].clone()).collect();
        setting.pool.placement = random.of(&[Placement::Spread, Placement::Pack, Placement::Ordered]);
    }
}

/// Devices for what a host's pools keep idle, and a few more: mostly fewer than `max` of them need.
pub(crate) fn devices<'a>(
    random: &mut Random,
    pools: impl Iterator<Item = &'a PoolSetting>,
) -> BTreeMap<DeviceClass, Vec<String>> {
    let mut counts = DeviceCounts::new();
    for PoolSetting { pool, .. } in pools {
        for (class, count) in &pool.template.devices {
            *counts.entry(class.clone()).or_default() += count * pool.policy.min_idle;
        }
    }
    [DeviceClass::Gpu, serial()]
        .map(|class| {
            let spare = u32::try_from(random.within(MOST.into(), 6)).expect("few");
            let count = counts.get(&class).copied().unwrap_or_default() + spare;
            let ids = (0..count).map(|n| format!("{class}-{n}")).collect();
            (class, ids)
        })
        .into()
}

/// As many as anybody may want.
pub(crate) fn plenty() -> BTreeMap<DeviceClass, Vec<String>> {
    [DeviceClass::Gpu, serial()]
        .map(|class| ((0..100).map(|n| format!("{class}-{n}")).collect(), class))
        .map(|(ids, class)| (class, ids))
        .into()
}

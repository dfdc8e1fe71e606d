//! Troubles that last for minutes: a scope or host that is down, a full group, a missing image.

use dayfly_fleet::{Evidence, ImageState, Resources};

use crate::{
    setting::{Alone, MINUTE, SECOND},
    world::{Happening, World, note},
};

/// What is wrong for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    ScopeDown(usize),
    ScopeLimited(usize),
    ScopeRefuses(usize),
    GroupFull(usize),
    HostDown(usize),
    ImageMissing(usize),
    EngineRefuses(usize),
    DiskLow(usize),
    Deprecated(usize),
    Broken(usize),
    SessionTaken(usize),
    Phantom(usize),
    GroupClosed(usize),
    Draining,
}

/// A trouble and its end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spell {
    kind: Kind,
    until: u64,
}

/// How many troubles of each kind there are now, by index of scope, host or pool.
pub(crate) struct Spells {
    pub(crate) scope_down: Vec<u8>,
    pub(crate) scope_limited: Vec<u8>,
    /// When a limited scope says that it may be asked again.
    pub(crate) limited_until: Vec<u64>,
    pub(crate) scope_refuses: Vec<u8>,
    pub(crate) group_full: Vec<u8>,
    pub(crate) host_down: Vec<u8>,
    pub(crate) image_missing: Vec<u8>,
    pub(crate) engine_refuses: Vec<u8>,
    pub(crate) disk_low: Vec<u8>,
    pub(crate) deprecated: Vec<u8>,
    pub(crate) broken: Vec<u8>,
    /// Another session holds the scale set.
    pub(crate) session_taken: Vec<u8>,
    /// A scale set's statistics report jobs that do not exist.
    pub(crate) phantom: Vec<u8>,
    /// The runner group does not admit one of the repositories.
    pub(crate) group_closed: Vec<u8>,
    pub(crate) draining: Vec<u8>,
}

impl Spells {
    pub(crate) fn none(scopes: usize, hosts: usize, pools: usize) -> Self {
        Self {
            scope_down: vec![0; scopes],
            scope_limited: vec![0; scopes],
            limited_until: vec![0; scopes],
            scope_refuses: vec![0; scopes],
            group_full: vec![0; scopes],
            host_down: vec![0; hosts],
            image_missing: vec![0; hosts],
            engine_refuses: vec![0; hosts],
            disk_low: vec![0; hosts],
            deprecated: vec![0; pools],
            broken: vec![0; pools],
            session_taken: vec![0; pools],
            phantom: vec![0; pools],
            group_closed: vec![0; scopes],
            draining: vec![0; 1],
        }
    }

    fn count(&mut self, kind: Kind) -> &mut u8 {
        match kind {
            Kind::ScopeDown(i) => &mut self.scope_down[i],
            Kind::ScopeLimited(i) => &mut self.scope_limited[i],
            Kind::ScopeRefuses(i) => &mut self.scope_refuses[i],
            Kind::GroupFull(i) => &mut self.group_full[i],
            Kind::HostDown(i) => &mut self.host_down[i],
            Kind::ImageMissing(i) => &mut self.image_missing[i],
            Kind::EngineRefuses(i) => &mut self.engine_refuses[i],
            Kind::DiskLow(i) => &mut self.disk_low[i],
            Kind::Deprecated(i) => &mut self.deprecated[i],
            Kind::Broken(i) => &mut self.broken[i],
            Kind::SessionTaken(i) => &mut self.session_taken[i],
            Kind::Phantom(i) => &mut self.phantom[i],
            Kind::GroupClosed(i) => &mut self.group_closed[i],
            Kind::Draining => &mut self.draining[0],
        }
    }
}

impl World {
    pub(crate) fn draw_spells(&mut self) {
        let end = self.now + self.setting.busy_for;
        match self.setting.alone {
            Some(Alone::Scope(scope)) => self.add_spell(Kind::ScopeDown(scope), self.now + MINUTE, end),
            Some(Alone::Host(host)) => self.add_spell(Kind::HostDown(host), self.now + MINUTE, end),
            Some(Alone::Pool(pool)) => self.add_spell(Kind::Broken(pool), self.now + MINUTE, end),
            None => {}
        }
        let most = self.setting.faults.spells;
        for _ in 0..self.random.within(0, most) {
            let scope = self.random.index(self.listed.len());
            let host = self.random.index(self.present.len());
            let pool = self.random.index(self.setting.pools.len());
            let sets: Vec<usize> = (0..self.setting.pools.len()).filter(|&pool| self.is_set(pool)).collect();
            let set = if sets.is_empty() { pool } else { self.random.of(&sets) };
            let kind = self.random.of(&[
                Kind::ScopeDown(scope),
                Kind::ScopeLimited(scope),
                Kind::ScopeRefuses(scope),
                Kind::GroupFull(scope),
                Kind::HostDown(host),
                Kind::HostDown(host),
                Kind::ImageMissing(host),
                Kind::EngineRefuses(host),
                Kind::DiskLow(host),
                Kind::DiskLow(host),
                Kind::Deprecated(pool),
                Kind::Deprecated(pool),
                Kind::Broken(pool),
                Kind::SessionTaken(set),
                Kind::SessionTaken(set),
                Kind::Phantom(set),
                Kind::Phantom(set),
                Kind::GroupClosed(scope),
                Kind::GroupClosed(scope),
                Kind::Draining,
                Kind::Draining,
            ]);
            let from = self.now + self.random.within(0, self.setting.busy_for - MINUTE);
            let until = (from + self.random.within(20 * SECOND, 10 * MINUTE)).min(end);
            self.add_spell(kind, from, until);
        }
    }

    fn add_spell(&mut self, kind: Kind, from: u64, until: u64) {
        self.spells.push(Spell { kind, until });
        self.at(from, Happening::SpellBegins(self.spells.len() - 1));
    }

    pub(crate) fn spell_begins(&mut self, index: usize) {
        let Spell { kind, until } = self.spells[index];
        note!(self, "world: {kind:?} begins");
        *self.under.count(kind) += 1;
        self.at(until, Happening::SpellEnds(index));
        self.tell_of(kind);
    }

    pub(crate) fn spell_ends(&mut self, index: usize) {
        let kind = self.spells[index].kind;
        note!(self, "world: {kind:?} ends");
        *self.under.count(kind) -= 1;
        self.tell_of(kind);
    }

    /// What the daemon observes without a call when a trouble begins or ends.
    fn tell_of(&mut self, kind: Kind) {
        match kind {
            Kind::ImageMissing(host) => {
                // The daemon checks for images only now and then.
                let delay = self.random.within(0, 90 * SECOND);
                self.after(delay, Happening::TellImage(host, self.life));
            }
            Kind::DiskLow(host) => self.tell_disk(host),
            Kind::SessionTaken(pool) if self.under.session_taken[pool] > 0 && self.random.chance(900) => {
                self.lose_session(pool);
            }
            Kind::Phantom(pool) => self.set_changes(pool),
            Kind::GroupClosed(scope) => {
                // The daemon reads the groups now and then only.
                let delay = self.random.within(0, 60 * SECOND);
                self.after(delay, Happening::TellGroups(scope, self.life));
                for pool in 0..self.setting.pools.len() {
                    self.after(0, Happening::Assign(pool));
                }
            }
            Kind::Draining => self.tell(Evidence::Drain(self.under.draining[0] > 0)),
            _ => {}
        }
    }

    pub(crate) fn tell_disk(&mut self, host: usize) {
        let low = self.under.disk_low[host] > 0;
        self.tell(Evidence::DiskLow { host: self.setting.hosts[host].name.clone(), low });
    }

    /// Whether a host has the images of its pools.
    pub(crate) fn tell_images(&mut self, host: usize) {
        let state = if self.under.image_missing[host] > 0 {
            match self.random.index(4) {
                0 => ImageState::Pulling,
                1 => ImageState::Unknown("forbidden".to_owned()),
                _ => ImageState::Missing("no such image".to_owned()),
            }
        } else if self.fails(self.setting.faults.engine) {
            // The next check is answered.
            self.after(10 * SECOND, Happening::TellImage(host, self.life));
            ImageState::Unknown("forbidden".to_owned())
        } else {
            ImageState::Present("sha256:1".to_owned())
        };
        let (name, size) = (self.setting.hosts[host].name.clone(), Resources::default());
        self.tell(Evidence::HostSize { host: name, size });
        for index in 0..self.setting.pools.len() {
            if self.setting.pools[index].hosts.contains(&host) && !self.setting.pools[index].gone {
                let template = &self.setting.pools[index].pool.template;
                let images = std::iter::once(template.image.as_str()).chain(template.sidecar_images());
                for image in images.map(str::to_owned).collect::<Vec<_>>() {
                    let host = self.setting.hosts[host].name.clone();
                    self.tell(Evidence::Image { host, image, state: state.clone() });
                }
            }
        }
    }
}

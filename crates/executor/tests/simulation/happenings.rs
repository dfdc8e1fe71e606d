//! What each happening does to the world.

use dayfly_fleet::{DockerMode, Network};

use crate::world::{Fate, Happening, World, note};

impl World {
    /// What happens in the world alone.
    pub(crate) fn happens(&mut self, happening: Happening) {
        match happening {
            Happening::Deed(call) => self.deed(call),
            Happening::Connect(container) => self.connects(container),
            Happening::Deliver(container) => self.delivers(container),
            Happening::ShowBusy(registration) => self.registrations[registration].busy = true,
            Happening::HideBusy(registration) => self.registrations[registration].busy = false,
            Happening::JobDone(container) => self.job_done(container),
            Happening::Exit(container, code, out_of_memory) => self.exits(container, code, out_of_memory),
            Happening::Vanish(container) => self.vanishes(container),
            Happening::SidecarEnds(index, gone) => self.sidecar_ends(index, gone),
            Happening::Place(container) => self.place(container),
            Happening::StartTask(container) => self.start_task(container),
            Happening::Node(host, node, news) => self.node_news(host, node, news),
            Happening::GiveUp(container, since) => self.gives_up(container, since),
            Happening::OutOfMemory(container) => self.out_of_memory(container),
            Happening::Offline(registration) => self.goes_offline(registration),
            Happening::Online(registration) => self.comes_online(registration),
            Happening::Disappear(registration) => self.disappears(registration),
            Happening::Release(registration) => self.releases(registration),
            Happening::Assign(pool) => self.assign(pool),
            Happening::Burst(pool) => self.burst(pool),
            Happening::Say(container, line, of) if of == self.life => self.say(container, line),
            Happening::TellDeath(container, life) if life == self.life => self.tell_death(container),
            Happening::TellExit(container, life) if life == self.life => self.tell_exit(container),
            Happening::TellImage(host, life) if life == self.life => self.tell_images(host),
            Happening::Approve(job) => self.approve(job),
            Happening::Cancel(job) => self.cancel(job),
            Happening::Stranger(job) => self.stranger_takes(job),
            Happening::JobEnds(job) => self.job_ends(job),
            Happening::Hint(job, rank) => self.hint(job, rank),
            Happening::LookQueue(repository, life) if life == self.life => self.look_at_queue(repository),
            Happening::QueueAnswer(repository, life) if life == self.life => self.queue_answers(repository),
            Happening::LookedUp(job, life) if life == self.life => self.looked_up(job),
            Happening::OpenSession(pool, life) if life == self.life => self.open_session(pool),
            Happening::SetNews(pool, life) if life == self.life => self.set_news(pool),
            Happening::SetSilence(pool, life) if life == self.life => self.set_silence(pool),
            Happening::LoseSession(pool, life) if life == self.life => self.lose_session(pool),
            Happening::TellGroups(scope, life) if life == self.life => self.tell_groups(scope),
            Happening::SetClock => self.set_clock(),
            Happening::Suspend => self.suspend(),
            Happening::SpellBegins(index) => self.spell_begins(index),
            Happening::SpellEnds(index) => self.spell_ends(index),
            _ => {}
        }
    }

    /// The daemon comes back with another configuration: a pool less, or another template.
    pub(crate) fn reconfigure(&mut self) {
        let others =
            |pool: usize| self.setting.pools.iter().enumerate().filter(move |(i, p)| *i != pool && !p.gone);
        // What no pool uses any more is out of the daemon's sight for good.
        let spare = |&pool: &usize| {
            let setting = &self.setting.pools[pool];
            // Without its pool nothing ends a runner that never exits.
            !setting.gone
                && setting.pool.policy.max_job_age.is_none()
                && others(pool).any(|(_, p)| p.scope == setting.scope)
                && setting.hosts.iter().all(|host| others(pool).any(|(_, p)| p.hosts.contains(host)))
        };
        let spare: Vec<usize> = (0..self.setting.pools.len()).filter(spare).collect();
        let pool = self.random.index(self.setting.pools.len());
        if !spare.is_empty() && self.random.chance(600) {
            let pool = spare[self.random.index(spare.len())];
            note!(self, "world: pool {} is taken out", self.setting.pools[pool].pool.name);
            self.setting.pools[pool].gone = true;
            for job in std::mem::take(&mut self.waiting[pool]) {
                self.jobs[job].fate = Fate::Withdrawn;
                self.jobs[job].ended_at = Some(self.now);
            }
        } else {
            note!(self, "world: pool {} has another template", self.setting.pools[pool].pool.name);
            let shm = self.random.next();
            let template = &mut self.setting.pools[pool].pool.template;
            template.shm_size = Some(shm);
            match shm % 4 {
                0 => template.docker = DockerMode::None,
                1 => {
                    template.network = match template.network {
                        Network::Isolated => Network::Default,
                        _ => Network::Isolated,
                    };
                }
                _ => {}
            }
        }
    }
}

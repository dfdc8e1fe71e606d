//! The lives of runners and jobs: boot, connect, listen, take a job, end; well or badly.

use std::{sync::Arc, time::Duration};

use dayfly_fleet::{Evidence, Exit};

use crate::{
    setting::{MINUTE, SECOND},
    world::{Fate, Happening, State, World, note},
};

/// How a runner's life goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    /// As it should.
    Good,
    /// Ends soon after its start, with this code.
    DiesAtBoot(i64),
    /// Runs and never connects.
    NeverBoots,
    /// Connects, and ends with 7: GitHub refuses its version.
    Deprecated,
    /// Does not end after its job.
    NeverExits,
    /// Ignores the stop signal.
    HangsOnStop,
    /// The kernel kills it in the middle of its job.
    OutOfMemory,
    /// The kernel kills a process of its job, and the job fails.
    JobOutOfMemory,
    /// An operator kills it.
    Killed,
    /// An operator removes it by force.
    Vanishes,
    /// Ends with code 1, sooner or later.
    Crashes,
    /// Loses its connection for good, and runs on.
    GoesDeaf,
    /// Loses its connection for a while.
    Blips,
    /// GitHub removes it while it is idle, and it ends.
    IdleRemoved,
    /// GitHub removes it while it is idle, and it listens on.
    Ghost,
}

/// A line of a runner's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    Listening,
    Running,
    Completed,
}

impl World {
    fn draw_nature(&mut self, pool: usize) -> Nature {
        if self.under.deprecated[pool] > 0 {
            return Nature::Deprecated;
        }
        if self.under.broken[pool] > 0 {
            return self.random.of(&[Nature::DiesAtBoot(0), Nature::DiesAtBoot(1), Nature::NeverBoots]);
        }
        if !self.fails(self.setting.faults.runners) {
            return Nature::Good;
        }
        let aged = self.setting.pools[pool].pool.policy.max_job_age.is_some();
        self.random.of(&[
            Nature::DiesAtBoot(0),
            Nature::DiesAtBoot(1),
            Nature::NeverBoots,
            if aged { Nature::NeverExits } else { Nature::Good },
            Nature::HangsOnStop,
            Nature::HangsOnStop,
            Nature::OutOfMemory,
            Nature::JobOutOfMemory,
            Nature::Killed,
            Nature::Vanishes,
            Nature::Crashes,
            Nature::GoesDeaf,
            Nature::GoesDeaf,
            Nature::Blips,
            Nature::Blips,
            Nature::IdleRemoved,
            Nature::IdleRemoved,
            Nature::Ghost,
        ])
    }

    /// A container was started.
    pub(crate) fn starts(&mut self, container: usize) {
        let nature = self.draw_nature(self.containers[container].pool);
        let now = self.now;
        let c = &mut self.containers[container];
        (c.state, c.nature) = (State::Up(now), nature);
        if let Some(task) = &mut c.task {
            task.started_at = Some(now);
        }
        note!(self, "world: {} starts, {nature:?}", self.containers[container].runner);
        let boot = match self.random.index(20) {
            0 => self.random.within(20 * SECOND, 100 * SECOND),
            _ => self.random.within(SECOND, 8 * SECOND),
        };
        match nature {
            Nature::DiesAtBoot(code) => {
                self.after(boot.min(5 * SECOND), Happening::Exit(container, code, false));
                return;
            }
            Nature::NeverBoots => return,
            Nature::Killed => {
                let after = self.random.within(0, 3 * MINUTE);
                self.after(after, Happening::Exit(container, 137, false));
            }
            Nature::Vanishes => {
                let after = self.random.within(0, 3 * MINUTE);
                self.after(after, Happening::Vanish(container));
            }
            Nature::Crashes => {
                let after = self.random.within(0, 5 * MINUTE);
                self.after(after, Happening::Exit(container, 1, false));
            }
            _ => {}
        }
        self.after(boot, Happening::Connect(container));
    }

    /// The runner opens its session.
    pub(crate) fn connects(&mut self, container: usize) {
        let c = &self.containers[container];
        if !c.is_up() || c.stop_sent {
            return;
        }
        let (registration, nature, pool) = (c.registration, c.nature, c.pool);
        if self.is_out_of_touch(container) {
            return self.after(5 * SECOND, Happening::Connect(container));
        }
        if self.registrations[registration].gone_at.is_some() {
            note!(self, "world: {} finds its registration deleted", self.containers[container].runner);
            self.after(2 * SECOND, Happening::Exit(container, 0, false));
            return;
        }
        note!(self, "world: {} listens", self.containers[container].runner);
        self.containers[container].connected_at = Some(self.now);
        self.registrations[registration].online = true;
        self.says(container, Line::Listening);
        match nature {
            Nature::Deprecated => {
                self.registrations[registration].deaf = true;
                self.after(SECOND, Happening::Exit(container, 7, false));
                return;
            }
            Nature::GoesDeaf => {
                let after = self.random.within(0, 3 * MINUTE);
                self.after(after, Happening::Offline(registration));
            }
            Nature::Blips => {
                let after = self.random.within(0, 2 * MINUTE);
                let back = after + self.random.within(SECOND, 2 * MINUTE);
                self.after(after, Happening::Offline(registration));
                self.after(back, Happening::Online(registration));
            }
            Nature::IdleRemoved | Nature::Ghost => {
                let after = self.random.within(20 * SECOND, 3 * MINUTE);
                self.after(after, Happening::Disappear(registration));
            }
            _ => {}
        }
        let delay = self.random.within(0, SECOND);
        self.after(delay, Happening::Assign(pool));
    }

    /// The runner gets its job.
    pub(crate) fn delivers(&mut self, container: usize) {
        let c = &self.containers[container];
        let (Some(job), registration) = (c.job, c.registration) else { return };
        if !c.is_up() {
            return;
        }
        if self.is_out_of_touch(container) {
            return self.after(5 * SECOND, Happening::Deliver(container));
        }
        let runner = c.runner.to_string();
        note!(self, "world: {runner} runs job {job}");
        self.job_starts(job, runner);
        self.containers[container].job_at = Some(self.now);
        self.says(container, Line::Running);
        let takes = self.jobs[job].takes;
        match self.containers[container].nature {
            Nature::OutOfMemory => self.after(takes / 2, Happening::OutOfMemory(container)),
            Nature::JobOutOfMemory => {
                self.after(takes / 2, Happening::OutOfMemory(container));
                self.after(takes, Happening::JobDone(container));
            }
            _ => self.after(takes, Happening::JobDone(container)),
        }
        if self.fails(self.setting.faults.flips) {
            self.after(takes / 3, Happening::HideBusy(registration));
        }
    }

    pub(crate) fn job_done(&mut self, container: usize) {
        let c = &self.containers[container];
        if !c.is_up() {
            return;
        }
        let (Some(job), registration, nature) = (c.job, c.registration, c.nature) else { return };
        if self.is_out_of_touch(container) {
            return self.after(5 * SECOND, Happening::JobDone(container));
        }
        note!(self, "world: {} is done with job {job}", c.runner);
        self.containers[container].job_done = true;
        if self.jobs[job].fate == Fate::Assigned {
            self.jobs[job].fate = Fate::Served;
        }
        self.job_ends(job);
        self.says(container, Line::Completed);
        let delay = self.random.within(0, 3 * SECOND);
        self.after(delay, Happening::Release(registration));
        if nature != Nature::NeverExits {
            let delay = self.random.within(200, 3 * SECOND);
            self.after(delay, Happening::Exit(container, 0, false));
        }
    }

    pub(crate) fn out_of_memory(&mut self, container: usize) {
        if !self.containers[container].is_up() {
            return;
        }
        self.containers[container].out_of_memory = true;
        note!(self, "world: {} is out of memory", self.containers[container].runner);
        if !self.fails(self.setting.faults.silence)
            && self.under.host_down[self.containers[container].host] == 0
        {
            let runner = self.containers[container].runner.clone();
            self.tell(Evidence::OutOfMemory { runner });
        }
        if self.containers[container].nature == Nature::OutOfMemory {
            let code = self.random.of(&[0, 137]);
            self.after(500, Happening::Exit(container, code, true));
        }
    }

    /// The container's first process ends.
    pub(crate) fn exits(&mut self, container: usize, code: i64, out_of_memory: bool) {
        let calm = self.calm;
        let c = &mut self.containers[container];
        // A container that has not failed yet when faults stop keeps running.
        let spared =
            calm && matches!(c.nature, Nature::Killed | Nature::Crashes) && !c.stop_sent && code != 0;
        if !c.is_up() || spared {
            return;
        }
        let State::Up(since) = c.state else { return };
        let ended = self.clocks.engine_shows(c.host, self.now);
        let exit = Exit {
            at: ended,
            ran: Some(Duration::from_millis(self.now - since)),
            code,
            out_of_memory: out_of_memory || c.out_of_memory,
            job: c.job_at.is_some().then(|| "build".to_owned()),
            result: c.job_done.then(|| "Succeeded".to_owned()),
            version_deprecated: c.nature == Nature::Deprecated,
            log_tail: Arc::from(""),
        };
        c.state = State::Down(exit);
        if let Some(task) = &mut c.task {
            // Nothing but a list shows the end of a task.
            task.ended_at = Some(self.now);
            note!(self, "world: {} ended with {code}", self.containers[container].runner);
            return self.ends(container);
        }
        note!(self, "world: {} ended with {code}", self.containers[container].runner);
        self.ends(container);
        if !self.fails(self.setting.faults.silence) {
            let delay = self.random.within(5, 500);
            self.after(delay, Happening::TellDeath(container, self.life));
            // How it ended is read afterwards, or never.
            let reading = match self.random.index(10) {
                0 => self.random.within(SECOND, 30 * SECOND),
                _ => self.random.within(2, 700),
            };
            if !self.fails(self.setting.faults.silence) {
                self.after(delay + reading, Happening::TellExit(container, self.life));
            }
        }
    }

    pub(crate) fn vanishes(&mut self, container: usize) {
        if self.containers[container].is_up() && !self.calm {
            note!(self, "world: somebody removes {}", self.containers[container].runner);
            self.removed(container);
            self.ends(container);
        }
    }

    /// What the end of a container means for its job and for GitHub.
    fn ends(&mut self, container: usize) {
        let c = &self.containers[container];
        let registration = c.registration;
        if c.has_job() {
            // GitHub releases a lost runner after ten to fifteen minutes.
            let job = c.job;
            let delay = self.random.within(8 * MINUTE, 15 * MINUTE);
            if let Some(job) = job {
                note!(self, "world: job {job} is lost");
                self.jobs[job].fate = Fate::Lost;
                self.after(delay, Happening::JobEnds(job));
            }
            self.after(delay, Happening::Release(registration));
        }
        let delay = self.random.within(0, 30 * SECOND);
        self.after(delay, Happening::Offline(registration));
    }

    /// A list shows the runner offline from now on.
    pub(crate) fn goes_offline(&mut self, registration: usize) {
        let living = self.registrations[registration].container.filter(|&c| self.containers[c].is_up());
        if let Some(container) = living.filter(|&c| !self.is_out_of_touch(c)) {
            if self.calm {
                return;
            }
            self.registrations[registration].deaf = self.containers[container].nature == Nature::GoesDeaf;
        }
        self.registrations[registration].online = false;
    }

    pub(crate) fn comes_online(&mut self, registration: usize) {
        let r = &self.registrations[registration];
        if let Some(container) = r.container
            && self.containers[container].is_up()
            && !self.is_out_of_touch(container)
            && r.gone_at.is_none()
        {
            self.registrations[registration].online = true;
            self.after(500, Happening::Assign(self.containers[container].pool));
        }
    }

    /// GitHub removes an idle registration of its own accord.
    pub(crate) fn disappears(&mut self, registration: usize) {
        let Some(container) = self.registrations[registration].container else { return };
        let c = &self.containers[container];
        if c.job.is_some() || self.registrations[registration].gone_at.is_some() || !c.is_up() || self.calm {
            return;
        }
        note!(self, "world: GitHub removes {}", c.runner);
        self.deregisters(registration);
    }

    /// A registration is no more; its runner notices within a poll, or never.
    pub(crate) fn deregisters(&mut self, registration: usize) {
        let lag = match self.random.index(10) {
            0 => self.random.within(0, 20 * SECOND),
            _ => 0,
        };
        let r = &mut self.registrations[registration];
        r.gone_at = Some(self.now);
        r.shown_until = self.now + lag;
        let Some(container) = r.container else { return };
        let c = &self.containers[container];
        if c.is_up() && c.job.is_none() && c.connected_at.is_some() && c.nature != Nature::Ghost {
            let delay = self.random.within(SECOND, 50 * SECOND);
            self.after(delay, Happening::Exit(container, 0, false));
        }
    }

    /// GitHub removes a registration whose job is over.
    pub(crate) fn releases(&mut self, registration: usize) {
        let r = &mut self.registrations[registration];
        if r.gone_at.is_none() {
            r.gone_at = Some(self.now);
            r.shown_until = self.now;
        }
    }

    /// Faults and jobs stop.
    pub(crate) fn calms(&mut self) {
        note!(self, "world: calm from now on");
        self.calm = true;
        for scope in 0..self.under.limited_until.len() {
            self.under.limited_until[scope] = 0;
        }
    }
}

//! What runners say and how they end, on its way to the daemon: late, twice or never.

use dayfly_fleet::{ClockReading, Evidence, Said};

use crate::{
    lives::Line,
    setting::SECOND,
    world::{Happening, State, World},
};

impl World {
    /// A line appears in a runner's log, and the daemon that follows it gets it late, or never.
    pub(crate) fn says(&mut self, container: usize, line: Line) {
        if self.alive && !self.fails(self.setting.faults.silence) {
            let delay = match self.random.index(10) {
                0 => self.random.within(0, 10 * SECOND),
                _ => self.random.within(2, 200),
            };
            self.after(delay, Happening::Say(container, line, self.life));
        }
    }

    pub(crate) fn say(&mut self, container: usize, line: Line) {
        let host = self.containers[container].host;
        if self.under.host_down[host] > 0 || !self.following[host] || self.is_cut_off(container) {
            return;
        }
        let said = match line {
            Line::Listening => Said::Listening,
            Line::Running => {
                let c = &self.containers[container];
                let began = c.job_at.map(|at| self.clocks.engine_shows(host, at));
                Said::RunningJob { job: "build".to_owned(), began }
            }
            Line::Completed => Said::JobCompleted("Succeeded".to_owned()),
        };
        let runner = self.containers[container].runner.clone();
        let clock = ClockReading { at: self.instant(), shown: self.clocks.engine_shows(host, self.now) };
        self.tell(Evidence::Said { runner, said, clock });
    }

    /// The logs of all living runners of a host are read again from their beginning.
    pub(crate) fn repeat_logs(&mut self, host: usize) {
        for index in 0..self.present[host].len() {
            self.repeat_log(self.present[host][index]);
        }
    }

    /// The log of a living runner is read again.
    pub(crate) fn repeat_log(&mut self, container: usize) {
        let c = &self.containers[container];
        let (listens, runs, done) = (c.connected_at.is_some(), c.job_at.is_some(), c.job_done);
        if !c.is_up() {
            return;
        }
        for (line, written) in [(Line::Listening, listens), (Line::Running, runs), (Line::Completed, done)] {
            if written {
                self.says(container, line);
            }
        }
    }

    /// The engine's event: a container ended, and with which code.
    pub(crate) fn tell_death(&mut self, container: usize) {
        let c = &self.containers[container];
        if let State::Down(exit) = &c.state
            && !c.removed
            && self.under.host_down[c.host] == 0
        {
            let (runner, code) = (c.runner.clone(), exit.code);
            self.tell(Evidence::Died { runner, code });
        }
    }

    pub(crate) fn tell_exit(&mut self, container: usize) {
        let c = &self.containers[container];
        if let State::Down(exit) = &c.state
            && !c.removed
            && self.under.host_down[c.host] == 0
        {
            let (runner, exit, host) = (c.runner.clone(), exit.clone(), c.host);
            self.tell(Evidence::Exited { runner, exit });
            self.look_soon.push(host);
        }
    }
}

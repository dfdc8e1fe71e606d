//! The wall clocks of the world: the daemon's machine, GitHub and each engine have their own, right or wrong,
//! and the machine's is set now and then. The world itself counts monotonic time, as the daemon does (rule 12).

use std::time::Duration;

use dayfly_fleet::{ClockReading, Evidence, Instant, Timestamp};

use crate::{
    random::Random,
    setting::{MINUTE, SECOND},
    world::{Happening, World, note},
};

/// How far a clock is wrong, in seconds.
const WRONG: [i64; 8] = [0, 0, 5, -5, -90, 3600, -3 * 3600, 26 * 3600];

/// Far from anything that a monotonic clock shows, so that who takes one for the other is found out.
const EPOCH: u64 = 1_795_348_800_000;

/// How far each clock is from the right time, in milliseconds.
pub(crate) struct Clocks {
    random: Random,
    machine: i64,
    github: i64,
    engines: Vec<i64>,
    /// Until when the daemon's machine is suspended.
    pub(crate) asleep_until: u64,
}

impl Clocks {
    pub(crate) fn draw(mut random: Random, hosts: usize) -> Self {
        let mut wrong = || random.of(&WRONG) * 1000;
        let (machine, github) = (wrong(), wrong());
        let engines = (0..hosts).map(|_| wrong()).collect();
        Self { random, machine, github, engines, asleep_until: 0 }
    }

    /// How an engine writes a moment.
    pub(crate) fn engine_shows(&self, host: usize, at: u64) -> Timestamp {
        shown(at, self.engines[host])
    }
}

impl World {
    /// Sets out when the machine's clock is set, and when it is suspended.
    pub(crate) fn draw_clocks(&mut self) {
        let busy = self.setting.busy_for;
        for (happening, permille) in
            [(Happening::SetClock, 400), (Happening::SetClock, 400), (Happening::Suspend, 150)]
        {
            if self.clocks.random.chance(permille) {
                let delay = self.clocks.random.within(SECOND, busy);
                self.after(delay, happening);
            }
        }
    }

    /// An operator sets the clock of the daemon's machine, forward or back.
    pub(crate) fn set_clock(&mut self) {
        if !self.calm {
            let before = std::mem::replace(&mut self.clocks.machine, self.clocks.random.of(&WRONG) * 1000);
            note!(self, "world: the clock is set by {} ms", self.clocks.machine - before);
            self.met.insert(if self.clocks.machine < before {
                "a clock set back"
            } else {
                "a clock set forward"
            });
        }
    }

    /// The machine sleeps: nothing of the daemon happens, and everything else does.
    pub(crate) fn suspend(&mut self) {
        // Where something is watched for being quick, the machine is awake.
        if !self.calm && self.setting.alone.is_none() {
            let length = self.clocks.random.within(30 * SECOND, 20 * MINUTE);
            self.clocks.asleep_until = self.now + length;
            note!(self, "world: the machine is suspended for {length} ms");
            self.met.insert("a suspend");
            self.after(length, Happening::Awake);
            self.tell(Evidence::Slept(Duration::from_millis(length)));
        }
    }

    pub(crate) fn asleep(&self) -> bool {
        self.now < self.clocks.asleep_until
    }

    /// What the clock of the daemon's machine shows.
    pub(crate) fn wall(&self) -> ClockReading {
        ClockReading { at: self.instant(), shown: shown(self.now, self.clocks.machine) }
    }

    /// How GitHub writes a moment.
    pub(crate) fn github_writes(&self, at: u64) -> Timestamp {
        shown(at, self.clocks.github)
    }

    /// A time of GitHub's, as the edge knows it: its clock has whole seconds.
    pub(crate) fn by_github(&self, at: u64) -> Instant {
        Instant::from_millis((at + self.now / 7 % 1000).min(self.now))
    }
}

fn shown(at: u64, wrong: i64) -> Timestamp {
    Timestamp::from_millis((EPOCH + at).saturating_add_signed(wrong))
}

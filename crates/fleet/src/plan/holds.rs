//! Why a pool's launches are paused: on one of its hosts, or on all of them.

use super::{Fleet, Pass, round::Round};
use crate::{
    evidence::ImageState,
    fleet::PoolState,
    mints::MintBudget,
    name::HostName,
    reasons::{Held, Why},
};

/// What a pool wants.
pub(super) enum Wish<'a> {
    /// Nothing more.
    Satisfied,
    /// One more runner, on one of these hosts; and why the others cannot have it.
    Runner { why: Why, hosts: Vec<&'a HostName>, refusals: Vec<Refusal<'a>> },
    /// One more, but launches are paused.
    Held(Held, String),
}

/// Why a host gets no runner of a pool now, with details.
pub(super) type Refusal<'a> = (&'a HostName, Held, String);

/// The reasons of all hosts of a pool as one: the one that is nearest to a launch, with all of them as its details.
pub(super) fn of_all(mut refusals: Vec<Refusal<'_>>) -> (Held, String) {
    if refusals.len() == 1
        && let Some((_, held, detail)) = refusals.pop()
    {
        return (held, detail);
    }
    let reasons = refusals.iter().map(|(_, held, _)| *held);
    let nearest = reasons.max_by_key(|held| (held.is_full(), *held)).unwrap_or(Held::HostUnseen);
    let each = |(host, held, detail): &Refusal<'_>| {
        let detail = if detail.is_empty() { held.in_words() } else { detail };
        format!("{host}: {detail}")
    };
    (nearest, refusals.iter().map(each).collect::<Vec<_>>().join("; "))
}

impl Fleet {
    /// Whether a pool with this many queued jobs wants one more runner, and why its launches are paused if they are.
    pub(super) fn wish<'a>(
        &self,
        state: &'a PoolState,
        queued: u32,
        round: &Round,
        pass: &mut Pass,
    ) -> Wish<'a> {
        let policy = &state.pool.policy;
        let tally = round.tallies.get(&state.pool.name).copied().unwrap_or_default();
        let probes = &round.probes;
        let held = |held| Wish::Held(held, String::new());
        if self.draining {
            return held(Held::Draining);
        }
        // Spares stay on top of demand.
        if tally.capacity >= queued + state.min_idle {
            return Wish::Satisfied;
        }
        let why = if tally.capacity < queued { Why::Demand } else { Why::Spare };
        let Some(scope) = self.scopes.get(&state.pool.scope) else { return held(Held::ScopeUnseen) };
        let (mut hosts, mut refusals) = (Vec::with_capacity(state.pool.hosts.len()), Vec::new());
        let all = &state.pool.hosts;
        sort_out(all, &mut hosts, &mut refusals, |host| self.unreachable(host, all.len() > 1));
        // Runners of an earlier run may be on a host that has not been tried yet, and count against `max`.
        let untried = |host| {
            self.hosts.get(host).is_some_and(|on| on.sight.listed_at.is_none() && on.sight.trouble.is_none())
        };
        if hosts.is_empty() || all.iter().any(untried) {
            let (why, detail) = of_all(refusals);
            return Wish::Held(why, detail);
        }
        if scope.sight.listed_at.is_none() {
            return held(Held::ScopeUnseen);
        }
        if let Some(unknown) = state.unknown_demand() {
            return held(unknown);
        }
        let budget = MintBudget::of(&state.pool);
        let limited_until = self.mints.limited_until(&budget);
        if !pass.due(limited_until) {
            return Wish::Held(Held::RateLimited, format!("until {}", self.clock.timestamp(limited_until)));
        }
        let reached = std::mem::take(&mut hosts);
        sort_out(reached, &mut hosts, &mut refusals, |host| self.not_ready(state, host, round, pass));
        if hosts.is_empty() {
            let (why, detail) = of_all(refusals);
            return Wish::Held(why, detail);
        }
        let anywhere = &state.backoffs.anywhere;
        if let Some(cause) = anywhere.holds(pass.now) {
            pass.due(anywhere.retry_at);
            return Wish::Held(cause, anywhere.detail.clone());
        }
        if anywhere.probing()
            && probes.contains_key(&(state.pool.name.clone(), None))
            && let Some(cause) = anywhere.held
        {
            return Wish::Held(cause, anywhere.detail.clone());
        }
        if tally.room >= policy.max {
            return held(Held::AtMax);
        }
        if let Some(until) = self.mints.paced_until(&budget, pass.now) {
            pass.due(until);
            return held(Held::Paced);
        }
        Wish::Runner { why, hosts, refusals }
    }

    /// Why a host cannot be asked for anything now; with the failure as its details, where the status does not show
    /// that beside the pool.
    fn unreachable(&self, host: &HostName, with_trouble: bool) -> Option<(Held, String)> {
        let Some(state) = self.hosts.get(host) else { return Some((Held::HostUnseen, String::new())) };
        let held = match &state.sight {
            sight if sight.listed_at.is_none() => Held::HostUnseen,
            sight if sight.trouble.is_some() => Held::HostUnreachable,
            _ => return None,
        };
        let trouble = state.sight.trouble.as_ref().filter(|_| with_trouble);
        Some((held, trouble.map(|(_, trouble)| trouble.detail.clone()).unwrap_or_default()))
    }

    /// Why a host cannot start this pool's runners now, however much room it has.
    fn not_ready(
        &self,
        state: &PoolState,
        host: &HostName,
        round: &Round,
        pass: &mut Pass,
    ) -> Option<(Held, String)> {
        let (template, probes) = (&state.pool.template, &round.probes);
        let on_host = self.hosts.get(host)?;
        if on_host.has_unknown_size {
            return Some((Held::HostUnseen, "what its machine has is not known yet".to_owned()));
        }
        for image in std::iter::once(template.image.as_str()).chain(template.sidecar_images()) {
            match on_host.images.get(image) {
                Some(ImageState::Present(_)) => {}
                Some(ImageState::Pulling) => return Some((Held::ImagePulling, String::new())),
                Some(ImageState::Missing(detail)) => return Some((Held::ImageMissing, detail.clone())),
                Some(ImageState::Unknown(detail)) => return Some((Held::ImageUnknown, detail.clone())),
                None => return Some((Held::HostUnseen, format!("{image} has not been checked yet"))),
            }
        }
        match round.unplaced.get(&(state.pool.name.clone(), host.clone())) {
            Some(Some(why)) => return Some((Held::NoNode, why.clone())),
            Some(None) if !state.placed_on.contains(host) => {
                return Some((Held::HostUnseen, "the first runner there has no node yet".to_owned()));
            }
            _ => {}
        }
        if let Some(backoff) = state.backoffs.on(host) {
            if let Some(cause) = backoff.holds(pass.now) {
                pass.due(backoff.retry_at);
                return Some((cause, backoff.detail.clone()));
            }
            if backoff.probing()
                && probes.contains_key(&(state.pool.name.clone(), Some(host.clone())))
                && let Some(cause) = backoff.held
            {
                return Some((cause, backoff.detail.clone()));
            }
        }
        on_host.disk_low.then(|| (Held::HostDisk, String::new()))
    }
}

/// Sorts hosts into those that are refused and those that are not.
fn sort_out<'a>(
    hosts: impl IntoIterator<Item = &'a HostName>,
    kept: &mut Vec<&'a HostName>,
    refusals: &mut Vec<Refusal<'a>>,
    mut refuses: impl FnMut(&HostName) -> Option<(Held, String)>,
) {
    for host in hosts {
        match refuses(host) {
            Some((held, detail)) => refusals.push((host, held, detail)),
            None => kept.push(host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reasons_of_several_hosts_become_the_nearest_one_with_each_as_its_details() {
        let [a, b]: [HostName; 2] = ["a", "b"].map(|name| name.parse().unwrap());
        assert_eq!(
            of_all(vec![(&a, Held::ImageMissing, "no such image".to_owned())]),
            (Held::ImageMissing, "no such image".to_owned())
        );
        let refusals =
            vec![(&a, Held::HostFull, String::new()), (&b, Held::HostUnreachable, "timed out".to_owned())];
        let detail = "a: its host's max_runners is reached; b: timed out".to_owned();
        assert_eq!(of_all(refusals), (Held::HostFull, detail));
        let refusals = vec![(&a, Held::HostFull, String::new()), (&b, Held::HostDisk, String::new())];
        assert_eq!(of_all(refusals).0, Held::HostFull, "that pool waits for room");
    }
}

//! The list of a scope's runners: page by page, with conditional requests, complete or an error.
//!
//! Pages are no snapshot. When a runner of a page that was read goes, the first one of the next page moves into
//! it and is not shown. So what the last page counts is the least that a complete list has; and in a list of
//! several pages a runner of this installation that was listed before is gone only when no page has changed since it
//! was read, or when GitHub says so when asked for it alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{Method, StatusCode};
use parking_lot::Mutex;
use serde::Deserialize;

use super::{
    GithubError, RunnerRecord,
    endpoint::Endpoint,
    lenient_json::Row,
    limits::{retry_interval, stretched},
    paging::{Cost, List, PageBody, Pages, Walked},
    rest::{Request, Response, RestClient},
};
use crate::{
    clock,
    fleet::{InstanceId, RegistrationId, RunnerName},
};

/// More pages than any scope has: a group holds 10,000 runners at most, a hundred pages.
const MAX_PAGES: usize = 500;

/// How often a list that shows fewer runners than it reports is fetched.
const MAX_WALKS: u32 = 3;

/// Charged requests that confirm one listing; runners beyond them stay listed until a later one.
const MAX_CONFIRMATIONS: u32 = 20;

/// The list of a scope's runners, with what is remembered of the newest complete one.
#[derive(Default)]
pub(super) struct RunnerList {
    /// Whose runners are our own; `None` for people, to whom all are alike.
    instance: OnceLock<InstanceId>,
    pages: Mutex<Pages<RunnerRecord>>,
    /// Pages that were new or had changed, in all listings.
    changes: AtomicU64,
    /// The runners of this installation that it showed.
    own: Mutex<BTreeMap<RegistrationId, RunnerRecord>>,
    /// The charged requests that it took to find out which of them are gone.
    confirmations: AtomicU32,
    /// Consecutive listings that were refused.
    refusals: AtomicU32,
}

/// A page as sent.
#[derive(Deserialize)]
struct RunnerPage {
    total_count: Option<u64>,
    runners: Option<Vec<Row<RunnerRecord>>>,
}

/// Everything that a listing showed.
pub(super) struct Shown {
    pub(super) runners: BTreeMap<RegistrationId, RunnerRecord>,
    pub(super) unreadable: Vec<Option<String>>,
}

impl RunnerList {
    /// Whose runners are our own: they are not taken to be gone before GitHub says so.
    pub(super) fn set_instance(&self, instance: &InstanceId) {
        // Called once, where the client is made.
        let _ = self.instance.set(instance.clone());
    }

    /// A number that changes whenever the list does.
    pub(super) fn revision(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// The interval between listings: `base`, longer when the rate limit runs low, and with increasing delays
    /// while they are refused.
    pub(super) fn interval(&self, rest: &RestClient, base: Duration) -> Duration {
        let base = retry_interval(base, self.refusals.load(Ordering::Relaxed));
        let pages = u32::try_from(self.pages.lock().len()).unwrap_or(u32::MAX).max(1);
        let requests = pages.saturating_add(self.confirmations.load(Ordering::Relaxed));
        let rate = rest.limits().rate(Endpoint::List);
        rate.map_or(base, |rate| stretched(base, &rate, requests, clock::now()))
    }

    /// Lists every runner once, and remembers whether that was refused. One that failed otherwise is neither.
    pub(super) async fn list(&self, rest: &RestClient) -> Result<Shown, GithubError> {
        let listed = self.complete(rest).await;
        match &listed {
            Ok(_) => self.refusals.store(0, Ordering::Relaxed),
            Err(GithubError::Refused(_)) => {
                let refusals = self.refusals.load(Ordering::Relaxed).saturating_add(1);
                self.refusals.store(refusals, Ordering::Relaxed);
            }
            Err(_) => {}
        }
        listed
    }

    /// Removes a registration, which then need not be asked about any more.
    pub(super) async fn delete(&self, rest: &RestClient, id: RegistrationId) -> Result<(), GithubError> {
        let address = rest.address(&format!("/actions/runners/{id}"))?;
        let ask = Request { method: Method::DELETE, ..Request::get(Endpoint::Delete, address) };
        let reply = rest.ask(ask).await?;
        if matches!(reply.answer.status, StatusCode::NO_CONTENT | StatusCode::NOT_FOUND) {
            self.own.lock().remove(&id);
        }
        match reply.answer.status {
            StatusCode::NO_CONTENT => Ok(()),
            StatusCode::NOT_FOUND => Err(GithubError::NotFound),
            StatusCode::UNPROCESSABLE_ENTITY => Err(GithubError::Busy),
            _ => Err(rest.refused(Endpoint::Delete, &reply)),
        }
    }

    /// Walks the pages again only while they show less than the last of them counts, at no cost for pages that have
    /// not changed; a runner that any walk showed is there.
    async fn complete(&self, rest: &RestClient) -> Result<Shown, GithubError> {
        let mut runners: BTreeMap<RegistrationId, RunnerRecord> = BTreeMap::new();
        let mut before: Option<BTreeSet<RegistrationId>> = None;
        for walks_left in (0..MAX_WALKS).rev() {
            let walked = self.walk(rest).await?;
            let ids: BTreeSet<RegistrationId> = walked.rows().map(|runner| runner.id).collect();
            // Of a runner that moved to a later page while we walked, the newer record counts.
            runners.extend(walked.rows().map(|runner| (runner.id, runner.clone())));
            let unreadable: Vec<Option<String>> = walked.unreadable().cloned().collect();
            let counted = walked.pages.last().map_or(0, |page| page.total);
            let received = (runners.len() + unreadable.len()) as u64;
            // Runners that come during a walk can be counted and not shown, as many as come.
            let changed =
                before.as_ref().map_or(0, |before| before.symmetric_difference(&ids).count() as u64);
            if received + changed >= counted {
                return self.confirmed(rest, Shown { runners, unreadable }, &walked).await;
            }
            if walks_left == 0 || walked.pages.len() == 1 {
                // What cannot be completed is not kept: every later 304 would confirm it.
                *self.pages.lock() = Pages::default();
                return Err(GithubError::failed(format!(
                    "incomplete list: GitHub reports {counted} runners but listed {received}"
                )));
            }
            before = Some(ids);
        }
        Err(GithubError::failed("incomplete list"))
    }

    /// Walks all pages once, and keeps them.
    async fn walk(&self, rest: &RestClient) -> Result<Walked<RunnerRecord>, GithubError> {
        let mut pages = self.pages.lock().clone();
        let read = |reply: &Response| self.read(rest, reply);
        let first = rest.address("/actions/runners?per_page=100")?;
        let walked = list(rest, &read).walk(first, &mut pages, &mut Cost::default(), |_| false).await?;
        let walked = walked.ok_or_else(|| GithubError::failed("incomplete list"))?;
        if let Some(why) = walked.cut {
            return Err(GithubError::failed(format!("incomplete list: {why}")));
        }
        *self.pages.lock() = pages;
        Ok(walked)
    }

    fn read(&self, rest: &RestClient, reply: &Response) -> Result<PageBody<RunnerRecord>, GithubError> {
        let wire: RunnerPage = reply.answer.json()?;
        let (Some(total), Some(rows)) = (wire.total_count, wire.runners) else {
            return Err(GithubError::failed("incomplete list: without total_count or runners"));
        };
        self.changes.fetch_add(1, Ordering::Relaxed);
        let (rows, unreadable) = rest.readable(rows, "runners", rest.scope());
        Ok(PageBody { total, rows, unreadable })
    }

    /// The same with those of this installation that the last listing showed and this one does not, unless they are
    /// known to be gone: being absent proves nothing while several pages change, or when a row cannot be read.
    async fn confirmed(
        &self,
        rest: &RestClient,
        mut shown: Shown,
        walked: &Walked<RunnerRecord>,
    ) -> Result<Shown, GithubError> {
        let Some(instance) = self.instance.get() else { return Ok(shown) };
        let mut missing = self.own.lock().clone();
        missing.retain(|id, _| !shown.runners.contains_key(id));
        let confirmations = &self.confirmations;
        confirmations.store(0, Ordering::Relaxed);
        let mut asks = true;
        if !missing.is_empty() {
            let unchanged = self.is_unchanged(rest, walked, &mut shown.runners).await;
            asks = unchanged.is_ok();
            let is_snapshot = unchanged.unwrap_or(false);
            let may_be_unreadable = |runner: &RunnerRecord| {
                shown.unreadable.iter().any(|name| name.as_ref().is_none_or(|name| *name == runner.name))
            };
            missing.retain(|id, runner| {
                !shown.runners.contains_key(id) && (!is_snapshot || may_be_unreadable(runner))
            });
        }
        for (id, before) in missing {
            let mut still = Some(before);
            if asks && confirmations.load(Ordering::Relaxed) < MAX_CONFIRMATIONS {
                confirmations.fetch_add(1, Ordering::Relaxed);
                match get(rest, id).await {
                    Ok(record) => still = Some(record),
                    Err(GithubError::NotFound) => still = None,
                    Err(error) => {
                        // The others would be as slow, or meet the same limit.
                        asks = false;
                        tracing::debug!(scope = %rest.scope(), %id, %error, "keeping runners that a listing lacks, because GitHub did not confirm that they are gone");
                    }
                }
            }
            shown.runners.extend(still.map(|record| (record.id, record)));
        }
        shown
            .unreadable
            .retain(|name| !shown.runners.values().any(|runner| Some(&runner.name) == name.as_ref()));
        let own = shown.runners.iter().filter(|(_, runner)| is_own(&runner.name, instance));
        *self.own.lock() = own.map(|(id, runner)| (*id, runner.clone())).collect();
        Ok(shown)
    }

    /// Whether no page has changed since the walk, which then was a snapshot. Asks only where that costs nothing as
    /// long as nothing has changed, and stops at the first page that has; what that shows is there too.
    async fn is_unchanged(
        &self,
        rest: &RestClient,
        walked: &Walked<RunnerRecord>,
        runners: &mut BTreeMap<RegistrationId, RunnerRecord>,
    ) -> Result<bool, GithubError> {
        if let [_] = &*walked.pages {
            return Ok(true);
        }
        if walked.pages.iter().any(|page| page.validator.is_none()) {
            return Ok(false);
        }
        let read = |reply: &Response| self.read(rest, reply);
        let list = list(rest, &read);
        for before in &walked.pages {
            let known = Some(Arc::clone(before));
            let page = list.page(before.address.clone(), known, &mut Cost::default()).await?;
            let Some(page) = page else { return Ok(false) };
            if !Arc::ptr_eq(&page, before) {
                self.confirmations.fetch_add(1, Ordering::Relaxed);
                runners.extend(page.rows.iter().map(|runner| (runner.id, runner.clone())));
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Fetches one runner.
pub(super) async fn get(rest: &RestClient, id: RegistrationId) -> Result<RunnerRecord, GithubError> {
    let address = rest.address(&format!("/actions/runners/{id}"))?;
    let reply = rest.ask(Request::get(Endpoint::Get, address)).await?;
    match reply.answer.status {
        StatusCode::OK => reply.answer.json(),
        StatusCode::NOT_FOUND => Err(GithubError::NotFound),
        _ => Err(rest.refused(Endpoint::Get, &reply)),
    }
}

fn list<'a>(
    rest: &'a RestClient,
    read: &'a (dyn Fn(&Response) -> Result<PageBody<RunnerRecord>, GithubError> + Send + Sync),
) -> List<'a, RunnerRecord> {
    List { rest, endpoint: Endpoint::List, of: rest.scope(), max_pages: MAX_PAGES, read }
}

fn is_own(name: &str, instance: &InstanceId) -> bool {
    RunnerName::parse(name).is_some_and(|name| name.instance() == instance.as_str())
}

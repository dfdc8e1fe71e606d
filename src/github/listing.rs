//! The list of a scope's runners: page by page, asked for only if changed, complete or an error.
//!
//! Pages are no snapshot. When a runner of a page that was read goes, the first one of the next page moves into
//! it and is not shown. So what the last page counts is the least that a complete list has; and in a list of
//! several pages a runner of this installation that was listed before is gone only when no page has changed since it
//! was read, or when GitHub says so when asked for it alone.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use http::{HeaderValue, StatusCode, Uri, header};
use parking_lot::Mutex;
use serde::Deserialize;

use super::{
    Client, Endpoint, GithubError, RunnerRecord,
    client::{Ask, Reply},
    link, record,
    rows::Row,
};
use crate::fleet::{InstanceId, Registration, RegistrationId, RunnerName};

/// More pages than any scope has: a group holds 10,000 runners at most, a hundred pages.
pub(super) const MAX_PAGES: usize = 500;

/// How often a list that shows less than it counts is walked.
const MAX_WALKS: u32 = 3;

/// Charged requests that confirm one listing; runners beyond them stay listed until a later one.
const MAX_CONFIRMATIONS: u32 = 20;

/// A scope's registrations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listing {
    /// Everybody's.
    pub registrations: Vec<Registration>,
    /// What is listed and cannot be read: the runner's name, where that can be.
    pub unreadable: Vec<Option<String>>,
}

/// What is remembered of the newest complete listing.
#[derive(Default)]
pub(super) struct Listed {
    /// Its pages, by address.
    pages: Mutex<BTreeMap<String, Arc<Page>>>,
    /// Pages that were new or had changed, in all listings.
    changes: AtomicU64,
    /// The runners of this installation that it showed.
    own: Mutex<BTreeMap<RegistrationId, RunnerRecord>>,
    /// The charged requests that it took to find out which of them are gone.
    confirmations: AtomicU32,
}

impl Listed {
    /// How many requests a listing takes; at least one.
    pub(super) fn requests(&self) -> u32 {
        let pages = self.pages.lock().len();
        let pages = u32::try_from(pages).unwrap_or(u32::MAX).max(1);
        pages.saturating_add(self.confirmations.load(Ordering::Relaxed))
    }

    /// A number that changes whenever the list does.
    pub(super) fn revision(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    fn page(&self, key: &str) -> Option<Arc<Page>> {
        self.pages.lock().get(key).cloned()
    }

    fn keep(&self, walked: &[(String, Arc<Page>)]) {
        *self.pages.lock() = walked.iter().cloned().collect();
    }

    /// A runner that is known to be gone need not be asked about.
    pub(super) fn forget(&self, id: RegistrationId) {
        self.own.lock().remove(&id);
    }

    fn own(&self) -> BTreeMap<RegistrationId, RunnerRecord> {
        self.own.lock().clone()
    }

    fn keep_own(&self, own: BTreeMap<RegistrationId, RunnerRecord>) {
        *self.own.lock() = own;
    }
}

struct Page {
    /// What makes the next request for it conditional.
    etag: Option<HeaderValue>,
    /// The generation of the token it was given to: other tokens have other ETags, and may see
    /// other runners.
    generation: u64,
    next: Option<String>,
    total: u64,
    runners: Vec<RunnerRecord>,
    /// Its rows that cannot be read, by name where there is one.
    unreadable: Vec<Option<String>>,
}

/// A page as sent.
#[derive(Deserialize)]
struct Wire {
    total_count: Option<u64>,
    runners: Option<Vec<Row<RunnerRecord>>>,
}

/// Everything that a listing showed.
pub(super) struct Shown {
    pub(super) runners: BTreeMap<RegistrationId, RunnerRecord>,
    pub(super) unreadable: Vec<Option<String>>,
}

impl Client {
    /// Lists every runner once. Walks the pages again only while they show less than the last of them counts, at no
    /// cost for pages that have not changed; a runner that any walk showed is there.
    pub(super) async fn list_all(&self) -> Result<Shown, GithubError> {
        let first = self.address("/actions/runners?per_page=100")?;
        let mut runners: BTreeMap<RegistrationId, RunnerRecord> = BTreeMap::new();
        let mut before: Option<BTreeSet<RegistrationId>> = None;
        for walks_left in (0..MAX_WALKS).rev() {
            let walked = self.walk(first.clone()).await?;
            let pages = || walked.iter().map(|(_, page)| page);
            let ids: BTreeSet<RegistrationId> =
                pages().flat_map(|page| &page.runners).map(|runner| runner.id).collect();
            // Of a runner that moved to a later page while we walked, the newer record counts.
            runners.extend(pages().flat_map(|page| &page.runners).map(|runner| (runner.id, runner.clone())));
            let unreadable: Vec<Option<String>> =
                pages().flat_map(|page| page.unreadable.iter().cloned()).collect();
            let counted = pages().next_back().map_or(0, |page| page.total);
            let received = (runners.len() + unreadable.len()) as u64;
            // Runners that come during a walk can be counted and not shown, as many as come.
            let changed =
                before.as_ref().map_or(0, |before| before.symmetric_difference(&ids).count() as u64);
            if received + changed >= counted {
                self.listed().keep(&walked);
                return self.confirmed(Shown { runners, unreadable }, &walked).await;
            }
            if walks_left == 0 || walked.len() == 1 {
                // What cannot be completed is not kept, lest a 304 confirm it for ever.
                self.listed().keep(&[]);
                return Err(GithubError::failed(format!(
                    "incomplete list: GitHub reports {counted} runners but listed {received}"
                )));
            }
            self.listed().keep(&walked);
            before = Some(ids);
        }
        Err(GithubError::failed("incomplete list"))
    }

    /// The same with those of this installation that the last listing showed and this one does not, unless they are
    /// known to be gone: being absent proves nothing while several pages change, or when a row cannot be read.
    async fn confirmed(
        &self,
        mut shown: Shown,
        walked: &[(String, Arc<Page>)],
    ) -> Result<Shown, GithubError> {
        let Some(instance) = self.instance() else { return Ok(shown) };
        let mut missing = self.listed().own();
        missing.retain(|id, _| !shown.runners.contains_key(id));
        let confirmations = &self.listed().confirmations;
        confirmations.store(0, Ordering::Relaxed);
        let mut asks = true;
        if !missing.is_empty() {
            let unchanged = self.is_unchanged(walked, &mut shown.runners).await;
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
                match self.get(id).await {
                    Ok(record) => still = Some(record),
                    Err(GithubError::NotFound) => still = None,
                    Err(error) => {
                        // The others would be as slow, or meet the same limit.
                        asks = false;
                        tracing::debug!(scope = %self.scope(), %id, %error, "keeping runners that a listing lacks, because GitHub did not confirm that they are gone");
                    }
                }
            }
            shown.runners.extend(still.map(|record| (record.id, record)));
        }
        shown
            .unreadable
            .retain(|name| !shown.runners.values().any(|runner| Some(&runner.name) == name.as_ref()));
        let own = shown.runners.iter().filter(|(_, runner)| is_own(&runner.name, instance));
        self.listed().keep_own(own.map(|(id, runner)| (*id, runner.clone())).collect());
        Ok(shown)
    }

    /// Whether no page has changed since the walk, which then was a snapshot. Looks only where that costs nothing as
    /// long as nothing has changed, and stops at the first page that has; what that shows is there too.
    async fn is_unchanged(
        &self,
        walked: &[(String, Arc<Page>)],
        runners: &mut BTreeMap<RegistrationId, RunnerRecord>,
    ) -> Result<bool, GithubError> {
        if let [_] = walked {
            return Ok(true);
        }
        if walked.iter().any(|(_, page)| page.etag.is_none()) {
            return Ok(false);
        }
        for (key, before) in walked {
            let address = key.parse().map_err(|_| GithubError::failed("a page without a valid URL"))?;
            let page = self.page(address, key).await?;
            if !Arc::ptr_eq(&page, before) {
                self.listed().confirmations.fetch_add(1, Ordering::Relaxed);
                runners.extend(page.runners.iter().map(|runner| (runner.id, runner.clone())));
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn walk(&self, first: Uri) -> Result<Vec<(String, Arc<Page>)>, GithubError> {
        let mut walked: Vec<(String, Arc<Page>)> = Vec::new();
        let mut address = first;
        loop {
            let key = address.to_string();
            if walked.iter().any(|(seen, _)| *seen == key) {
                return Err(GithubError::failed("incomplete list: its pages form a loop"));
            }
            if walked.len() == MAX_PAGES {
                return Err(GithubError::failed(format!("incomplete list: more than {MAX_PAGES} pages")));
            }
            let page = self.page(address, &key).await?;
            let next = page.next.clone();
            walked.push((key, page));
            match next {
                Some(target) => address = self.admit(&target)?,
                None => return Ok(walked),
            }
        }
    }

    async fn page(&self, address: Uri, key: &str) -> Result<Arc<Page>, GithubError> {
        let known = self.listed().page(key);
        let etag = known.as_deref().and_then(|page| Some((page.etag.as_ref()?, page.generation)));
        let reply = self.ask(Ask { known: etag, ..Ask::get(Endpoint::List, address) }).await?;
        match reply.answer.status {
            StatusCode::OK => {
                let page = page_in(&reply)?;
                self.listed().changes.fetch_add(1, Ordering::Relaxed);
                self.report_unreadable("runners", self.scope(), page.unreadable.len());
                Ok(Arc::new(page))
            }
            StatusCode::NOT_MODIFIED => known
                .filter(|page| page.etag.is_some() && page.generation == reply.generation)
                .ok_or_else(|| GithubError::failed("status 304 for a request that was not conditional")),
            _ => Err(self.refused(Endpoint::List, &reply)),
        }
    }
}

fn is_own(name: &str, instance: &InstanceId) -> bool {
    RunnerName::parse(name).is_some_and(|name| name.instance() == instance.as_str())
}

fn page_in(reply: &Reply) -> Result<Page, GithubError> {
    let wire: Wire = reply.answer.json()?;
    let (Some(total), Some(rows)) = (wire.total_count, wire.runners) else {
        return Err(GithubError::failed("incomplete list: without total_count or runners"));
    };
    let (mut runners, mut unreadable) = (Vec::new(), Vec::new());
    for row in rows {
        match row {
            Row::Read(runner) => runners.push(runner),
            Row::Unreadable(raw) => unreadable.push(record::name_in(&raw)),
        }
    }
    Ok(Page {
        etag: reply.answer.headers.get(header::ETAG).cloned(),
        generation: reply.generation,
        next: link::next(&reply.answer.headers),
        total,
        runners,
        unreadable,
    })
}

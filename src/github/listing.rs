//! The list of a scope's runners: page by page, asked for only if changed, complete or an error.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use http::{HeaderValue, StatusCode, Uri, header};
use serde::Deserialize;

use super::{
    Client, Endpoint, GithubError, RunnerRecord,
    client::{Ask, Reply},
    link, record,
};
use crate::fleet::RegistrationId;

/// More pages than any scope has: a group holds 10,000 runners at most, a hundred pages.
pub(super) const MAX_PAGES: usize = 500;

/// How often a list of several pages is walked when runners came or went meanwhile.
const MAX_WALKS: u32 = 3;

/// The pages of the newest complete list, by address.
#[derive(Default)]
pub(super) struct Pages(BTreeMap<String, Arc<Page>>);

impl Pages {
    /// How many requests a listing takes; at least one.
    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX).max(1)
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
}

/// A page as sent.
#[derive(Deserialize)]
struct Wire {
    total_count: Option<u64>,
    runners: Option<Vec<record::Wire>>,
}

impl Client {
    /// Walks all pages and hands out every runner once.
    ///
    /// Pages are no snapshot: when a runner goes, the ones after it move up, and one of them can
    /// slip between two pages. `total_count` tells that (the greatest of all pages counts), and
    /// then the walk is repeated, at no cost for pages that have not changed.
    pub(super) async fn walk(&self, mut each: impl FnMut(&RunnerRecord) + Send) -> Result<(), GithubError> {
        let first = self.address("/actions/runners?per_page=100")?;
        for walks_left in (0..MAX_WALKS).rev() {
            let walked = self.walk_once(first.clone()).await?;
            let total = walked.iter().map(|(_, page)| page.total).max().unwrap_or_default();
            let ids: BTreeSet<RegistrationId> =
                walked.iter().flat_map(|(_, page)| &page.runners).map(|runner| runner.id).collect();
            let again = walks_left > 0 && walked.len() > 1;
            let complete = ids.len() as u64 >= total;
            // What cannot be completed is not kept, lest a 304 confirm it for ever.
            self.pages(|pages| {
                if complete || again { pages.0 = walked.iter().cloned().collect() } else { pages.0.clear() }
            });
            if !complete {
                if again {
                    continue;
                }
                let received = ids.len();
                return Err(GithubError::failed(format!(
                    "incomplete list: GitHub counts {total} runners and listed {received}"
                )));
            }
            // A runner that moved to a later page while we walked: its newer record counts.
            let mut newest: BTreeMap<RegistrationId, &RunnerRecord> = BTreeMap::new();
            for runner in walked.iter().flat_map(|(_, page)| &page.runners) {
                newest.insert(runner.id, runner);
            }
            newest.into_values().for_each(&mut each);
            return Ok(());
        }
        Ok(())
    }

    async fn walk_once(&self, first: Uri) -> Result<Vec<(String, Arc<Page>)>, GithubError> {
        let mut walked: Vec<(String, Arc<Page>)> = Vec::new();
        let mut address = first;
        loop {
            let key = address.to_string();
            if walked.iter().any(|(seen, _)| *seen == key) {
                return Err(GithubError::failed("incomplete list: its pages lead in a circle"));
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
        let known = self.pages(|pages| pages.0.get(key).cloned());
        let etag = known.as_deref().and_then(|page| Some((page.etag.as_ref()?, page.generation)));
        let reply = self.ask(Ask { known: etag, ..Ask::get(Endpoint::List, address) }).await?;
        match reply.answer.status {
            StatusCode::OK => page_in(&reply).map(Arc::new),
            StatusCode::NOT_MODIFIED => known
                .filter(|page| page.etag.is_some() && page.generation == reply.generation)
                .ok_or_else(|| GithubError::failed("304 to a request that was not conditional")),
            _ => Err(self.refused(Endpoint::List, &reply)),
        }
    }
}

fn page_in(reply: &Reply) -> Result<Page, GithubError> {
    let wire: Wire = reply.answer.json()?;
    let (Some(total), Some(runners)) = (wire.total_count, wire.runners) else {
        return Err(GithubError::failed("incomplete list: without total_count or runners"));
    };
    let runners: Option<Vec<_>> = runners.into_iter().map(record::Wire::record).collect();
    Ok(Page {
        etag: reply.answer.headers.get(header::ETAG).cloned(),
        generation: reply.generation,
        next: link::next(&reply.answer.headers),
        total,
        runners: runners
            .ok_or_else(|| GithubError::failed("incomplete list: a runner without id or name"))?,
    })
}

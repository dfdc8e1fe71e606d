//! Pages of lists that are asked for only if they have changed: a 304 costs nothing of the rate limit.

use std::{collections::BTreeMap, sync::Arc};

use http::{HeaderValue, StatusCode, Uri, header};

use super::{
    Client, Endpoint, GithubError,
    client::{Ask, Reply},
    link,
};
use crate::fleet::Scope;

/// What requests have cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cost {
    /// Requests.
    pub(super) requests: u32,
    /// Those of them that had something new to tell, and are charged to the rate limit.
    pub(super) charged: u32,
}

/// The pages of a list as they were last sent, by address.
pub(super) struct Pages<T>(BTreeMap<String, Arc<Page<T>>>);

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Pages<T> {
    /// The rows of all pages.
    pub(super) fn rows(&self) -> impl Iterator<Item = &T> {
        self.0.values().flat_map(|page| &page.rows)
    }

    /// How many they are.
    pub(super) fn count(&self) -> usize {
        self.0.values().map(|page| page.rows.len()).sum()
    }
}

/// A page, and what makes the next request for it conditional.
pub(super) struct Page<T> {
    etag: Option<HeaderValue>,
    /// The generation of the token that it was sent to.
    generation: u64,
    next: Option<String>,
    /// How many rows GitHub counts on all pages.
    pub(super) total: u64,
    pub(super) rows: Vec<T>,
}

/// What a body says: how many rows there are on all pages, and the rows of this one.
pub(super) type Rows<T> = (u64, Vec<T>);

/// A walk along the pages of a list.
pub(super) struct Walk<'a, T> {
    pub(super) client: &'a Client,
    pub(super) endpoint: Endpoint,
    /// Whose list it is, for errors.
    pub(super) of: &'a Scope,
    pub(super) max_pages: usize,
    pub(super) read: &'a (dyn Fn(&Reply) -> Result<Rows<T>, GithubError> + Send + Sync),
}

/// The pages that a walk met.
pub(super) struct Walked<T> {
    pub(super) pages: Vec<Arc<Page<T>>>,
    /// Whether there were more than may be walked.
    pub(super) cut: bool,
}

impl<T> Walk<'_, T> {
    /// Walks the pages from the first on, until `enough`; `None` when there is no such list (404).
    /// What was walked is kept for the next time, and nothing else.
    pub(super) async fn walk(
        &self,
        first: Uri,
        kept: &mut Pages<T>,
        cost: &mut Cost,
        enough: impl Fn(&Page<T>) -> bool + Send,
    ) -> Result<Option<Walked<T>>, GithubError> {
        let (mut address, mut walked) = (first, Vec::<(String, Arc<Page<T>>)>::new());
        let cut = loop {
            let key = address.to_string();
            if walked.len() >= self.max_pages || walked.iter().any(|(seen, _)| *seen == key) {
                break true;
            }
            let Some(page) = self.page(address, kept.0.get(&key).cloned(), cost).await? else {
                kept.0.clear();
                return Ok(None);
            };
            let next = page.next.clone().filter(|_| !enough(&page));
            walked.push((key, page));
            match next {
                Some(target) => address = self.client.admit(&target)?,
                None => break false,
            }
        };
        let pages = walked.iter().map(|(_, page)| Arc::clone(page)).collect();
        kept.0 = walked.into_iter().collect();
        Ok(Some(Walked { pages, cut }))
    }

    async fn page(
        &self,
        address: Uri,
        known: Option<Arc<Page<T>>>,
        cost: &mut Cost,
    ) -> Result<Option<Arc<Page<T>>>, GithubError> {
        let etag = known.as_deref().and_then(|page| Some((page.etag.as_ref()?, page.generation)));
        cost.requests += 1;
        let ask = Ask { known: etag, ..Ask::get(self.endpoint, address) };
        let reply = self.client.ask(ask).await?;
        cost.charged += u32::from(reply.answer.status != StatusCode::NOT_MODIFIED);
        match reply.answer.status {
            StatusCode::OK => {
                let (total, rows) = (self.read)(&reply)?;
                Ok(Some(Arc::new(Page {
                    etag: reply.answer.headers.get(header::ETAG).cloned(),
                    generation: reply.generation,
                    next: link::next(&reply.answer.headers),
                    total,
                    rows,
                })))
            }
            StatusCode::NOT_MODIFIED => known
                .filter(|page| page.etag.is_some() && page.generation == reply.generation)
                .map(Some)
                .ok_or_else(|| GithubError::failed("status 304 for a request that was not conditional")),
            StatusCode::NOT_FOUND if self.endpoint == Endpoint::Jobs => Ok(None),
            _ => Err(self.client.refused_at(self.endpoint, self.of, &reply)),
        }
    }
}

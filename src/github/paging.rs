//! Lists of many pages, requested only if they have changed: a 304 costs nothing of the rate limit.

use std::{collections::BTreeMap, fmt, sync::Arc};

use http::{StatusCode, Uri};

use super::{
    GithubError,
    endpoint::Endpoint,
    rest::{Request, Response, RestClient, Validator},
    transport::next,
};
use crate::fleet::Scope;

/// What requests have cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cost {
    /// Requests.
    pub(super) requests: u32,
    /// Those of them that returned something new, and count against the rate limit.
    pub(super) charged: u32,
}

/// The pages of a list as they were last sent, by address.
#[derive(Clone, Debug)]
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

    /// How many rows they have.
    pub(super) fn count(&self) -> usize {
        self.0.values().map(|page| page.rows.len()).sum()
    }

    /// How many pages they are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether this page is one of them, unchanged.
    pub(super) fn has(&self, page: &Page<T>) -> bool {
        self.0.values().any(|known| std::ptr::eq(Arc::as_ptr(known), page))
    }

    /// Only the first page, and of it only what shows whether it has changed.
    pub(super) fn mark(first: &Page<T>) -> Self {
        let Page { address, validator, .. } = first;
        let (address, validator) = (address.clone(), validator.clone());
        let mark =
            Page { validator, next: None, total: 0, rows: Vec::new(), unreadable: Vec::new(), address };
        Self(BTreeMap::from([(mark.address.to_string(), Arc::new(mark))]))
    }
}

/// A page of a list.
#[derive(Debug)]
pub(super) struct Page<T> {
    pub(super) address: Uri,
    /// What makes the next request for it conditional.
    pub(super) validator: Option<Validator>,
    next: Option<String>,
    /// The number of rows on all pages, as reported by GitHub.
    pub(super) total: u64,
    pub(super) rows: Vec<T>,
    /// The rows that cannot be read, by name where they have one.
    pub(super) unreadable: Vec<Option<String>>,
}

/// What the body of a page says.
pub(super) struct PageBody<T> {
    /// How many there are on all pages; 0 where the server does not say.
    pub(super) total: u64,
    pub(super) rows: Vec<T>,
    pub(super) unreadable: Vec<Option<String>>,
}

/// A list at GitHub.
pub(super) struct List<'a, T> {
    pub(super) rest: &'a RestClient,
    pub(super) endpoint: Endpoint,
    /// Whose list it is, for errors.
    pub(super) of: &'a Scope,
    pub(super) max_pages: usize,
    pub(super) read: &'a (dyn Fn(&Response) -> Result<PageBody<T>, GithubError> + Send + Sync),
}

/// The pages that a walk along a list met.
pub(super) struct Walked<T> {
    pub(super) pages: Vec<Arc<Page<T>>>,
    /// Why there may be more, unless the caller ended the walk.
    pub(super) cut: Option<Cut>,
}

/// Why a walk ended before the last page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    Loop,
    TooMany(usize),
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loop => f.write_str("its pages form a loop"),
            Self::TooMany(pages) => write!(f, "more than {pages} pages"),
        }
    }
}

impl<T> Walked<T> {
    /// The rows of all pages, in their order.
    pub(super) fn rows(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flat_map(|page| &page.rows)
    }

    /// The rows of all pages that cannot be read.
    pub(super) fn unreadable(&self) -> impl Iterator<Item = &Option<String>> {
        self.pages.iter().flat_map(|page| &page.unreadable)
    }
}

impl<T> List<'_, T> {
    /// Walks the pages from the first on, until `enough`; `None` when there is no such list (404 to a run's jobs).
    /// What was walked is kept for the next time, and nothing else.
    pub(super) async fn walk(
        &self,
        first: Uri,
        kept: &mut Pages<T>,
        cost: &mut Cost,
        enough: impl Fn(&Page<T>) -> bool + Send,
    ) -> Result<Option<Walked<T>>, GithubError> {
        let (mut address, mut pages) = (first, Vec::<Arc<Page<T>>>::new());
        let cut = loop {
            if pages.iter().any(|seen| seen.address == address) {
                break Some(Cut::Loop);
            }
            if pages.len() >= self.max_pages {
                break Some(Cut::TooMany(self.max_pages));
            }
            let known = kept.0.get(&address.to_string()).cloned();
            let Some(page) = self.page(address, known, cost).await? else {
                kept.0.clear();
                return Ok(None);
            };
            let next = page.next.clone().filter(|_| !enough(&page));
            pages.push(page);
            match next {
                Some(target) => address = self.rest.transport().origin().admit(&target)?,
                None => break None,
            }
        };
        kept.0 = pages.iter().map(|page| (page.address.to_string(), Arc::clone(page))).collect();
        Ok(Some(Walked { pages, cut }))
    }

    /// One page: `known` itself if it has not changed.
    pub(super) async fn page(
        &self,
        address: Uri,
        known: Option<Arc<Page<T>>>,
        cost: &mut Cost,
    ) -> Result<Option<Arc<Page<T>>>, GithubError> {
        let validator = known.as_deref().and_then(|page| page.validator.as_ref());
        cost.requests += 1;
        let ask = Request { known: validator, ..Request::get(self.endpoint, address.clone()) };
        let reply = self.rest.ask(ask).await?;
        cost.charged += u32::from(reply.answer.status != StatusCode::NOT_MODIFIED);
        match reply.answer.status {
            StatusCode::OK => {
                let PageBody { total, rows, unreadable } = (self.read)(&reply)?;
                Ok(Some(Arc::new(Page {
                    address,
                    validator: reply.validator(),
                    next: next(&reply.answer.headers),
                    total,
                    rows,
                    unreadable,
                })))
            }
            StatusCode::NOT_MODIFIED => known
                .filter(|page| page.validator.as_ref().is_some_and(|validator| reply.confirms(validator)))
                .map(Some)
                .ok_or_else(|| GithubError::failed("status 304 for a request that was not conditional")),
            StatusCode::NOT_FOUND if self.endpoint == Endpoint::Jobs => Ok(None),
            _ => Err(self.rest.refused_at(self.endpoint, self.of, &reply)),
        }
    }
}

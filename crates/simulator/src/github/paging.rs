//! Pages of lists, and the links between them.

use axum::http::{StatusCode, header::LINK};
use serde_json::{Value, json};

use super::exchange::{Asked, Reply};
use crate::world::World;

const DEFAULT_PER_PAGE: usize = 30;
const MAX_PER_PAGE: usize = 100;

impl World {
    /// One page of a list that counts itself.
    pub(super) fn page(&self, asked: &Asked, list: &str, rows: Vec<Value>) -> Reply {
        let total = rows.len();
        self.counted_page(asked, list, total, rows)
    }

    /// One page of a list that counts more than can be walked to.
    pub(super) fn counted_page(&self, asked: &Asked, list: &str, total: usize, rows: Vec<Value>) -> Reply {
        let (rows, links) = self.cut(asked, rows);
        linked(Reply::json(StatusCode::OK, json!({ "total_count": total, list: rows })), &links)
    }

    /// One page of a list that is nothing but its rows.
    pub(super) fn bare_page(&self, asked: &Asked, rows: Vec<Value>) -> Reply {
        let (rows, links) = self.cut(asked, rows);
        linked(Reply::json(StatusCode::OK, Value::Array(rows)), &links)
    }

    fn cut(&self, asked: &Asked, rows: Vec<Value>) -> (Vec<Value>, Vec<String>) {
        let per_page = asked.number("per_page", DEFAULT_PER_PAGE).min(MAX_PER_PAGE);
        let page = asked.number("page", 1);
        let pages = rows.len().div_ceil(per_page).max(1);
        let rows = rows.into_iter().skip((page - 1).saturating_mul(per_page)).take(per_page).collect();
        if pages == 1 {
            return (rows, Vec::new());
        }
        let address = self.numbered(asked);
        let link = |page: usize, relation: &str| format!("<{address}page={page}>; rel=\"{relation}\"");
        let mut links = Vec::new();
        if page > 1 {
            links.push(link(page - 1, "prev"));
        }
        if page < pages {
            links.extend([link(page + 1, "next"), link(pages, "last")]);
        }
        if page > 1 {
            links.push(link(1, "first"));
        }
        (rows, links)
    }

    /// The address that was asked for, without its page; it names the scope by its number, as
    /// GitHub's links do.
    fn numbered(&self, asked: &Asked) -> String {
        let parts: Vec<&str> = asked.path.split('/').skip(1).collect();
        let path = match parts.as_slice() {
            ["orgs", organization, rest @ ..] => {
                let number = self.scope_number(organization).unwrap_or_default();
                format!("organizations/{number}/{}", rest.join("/"))
            }
            ["repos", owner, name, rest @ ..] => {
                let number = self.scope_number(&format!("{owner}/{name}")).unwrap_or_default();
                format!("repositories/{number}/{}", rest.join("/"))
            }
            parts => parts.join("/"),
        };
        let query = asked.query.iter().filter(|(name, _)| name != "page");
        let query: Vec<String> = query.map(|(name, value)| format!("{name}={value}&")).collect();
        format!("{}/{path}?{}", asked.base, query.concat())
    }
}

fn linked(reply: Reply, links: &[String]) -> Reply {
    if links.is_empty() { reply } else { reply.with(LINK, links.join(", ")) }
}

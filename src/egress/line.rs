//! What the proxy writes to its standard output, and the daemon reads: one JSON object per line.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// What became of the requests to a destination; the best comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The allow list permits it.
    Allowed,
    /// Only the mode permits it, which is `audit`.
    Audited,
    Refused,
}

/// A destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// A name in lower case, or a literal address without brackets.
    pub host: String,
    pub port: u16,
    pub verdict: Verdict,
    /// Requests until now: 1, 2, 4, 8 and so on.
    pub count: u64,
}

/// One line of the output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Report {
    /// The first line: the proxy accepts connections.
    Listening {
        listening: SocketAddr,
    },
    Destination(Line),
    /// There are more destinations than this number, and the others are not reported.
    More {
        more_than: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_read_as_it_was_written() {
        let destination =
            Line { host: "github.com".to_owned(), port: 443, verdict: Verdict::Allowed, count: 1 };
        for (report, text) in [
            (
                Report::Listening { listening: "0.0.0.0:3128".parse().unwrap() },
                r#"{"listening":"0.0.0.0:3128"}"#,
            ),
            (
                Report::Destination(destination),
                r#"{"host":"github.com","port":443,"verdict":"allowed","count":1}"#,
            ),
            (Report::More { more_than: 1000 }, r#"{"more_than":1000}"#),
        ] {
            assert_eq!(serde_json::to_string(&report).unwrap(), text);
            assert_eq!(serde_json::from_str::<Report>(text).unwrap(), report);
        }
        assert!(serde_json::from_str::<Report>("{}").is_err());
    }
}

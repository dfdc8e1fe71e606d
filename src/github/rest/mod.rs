//! One request to the REST API for one scope: with the token that it needs, within that token's limits, and
//! with the meaning of those responses that mean the same for all requests. In layers: `rest_client` knows
//! addresses, `send` sends a request with a given token, `installation` gets an App's tokens by that, and
//! `ask` puts them together.

mod ask;
mod forbidden;
mod installation;
mod refusal;
mod report;
mod request;
mod rest_client;
mod send;

pub use self::report::{Reporter, RequestReport};
pub(super) use self::{
    forbidden::Reason,
    refusal::app_permission_name,
    request::{Request, Response, Validator},
    rest_client::RestClient,
};

//! What GitHub is shown: personal tokens and GitHub Apps, where they are read from, and what is known of each in
//! use. A token never shows in `Debug` or in an error text.

mod app;
mod app_source;
mod bearer;
mod credential;
mod private_key;
mod secret_file;
mod source;
mod token_expiry;
mod token_kind;
mod token_source;

pub use self::{
    app::AppGrant,
    app_source::AppSource,
    credential::Credential,
    source::{CredentialKind, CredentialSource},
    token_kind::TokenKind,
    token_source::TokenSource,
};
pub(super) use self::{
    app::{App, Installation, InstallationToken, Site},
    bearer::Bearer,
};

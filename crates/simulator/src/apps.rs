//! GitHub Apps: how they are registered and installed, the JSON web tokens that prove to be them,
//! and the tokens of their installations.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::Value;

use super::random::Random;
use dayfly_fleet::Timestamp;

/// A JSON web token may be good for so long.
const LONGEST_JWT: u64 = 600;

/// About the length of GitHub's own installation tokens (changelog of 2026-05-15).
const TOKEN_LENGTH: usize = 520;

/// A registered App.
#[derive(Clone, Debug)]
pub struct App {
    /// Its number.
    pub id: u64,
    /// Its client id.
    pub client_id: String,
    /// Its public key: an RSAPublicKey of PKCS#1 in DER.
    pub public_key: Vec<u8>,
    /// The accounts that it is installed on.
    pub installations: Vec<Installation>,
}

/// An App on an account.
#[derive(Clone, Debug)]
pub struct Installation {
    /// Its number.
    pub id: u64,
    /// The login of the organization or person.
    pub account: String,
    /// What the account has approved: name, and `read` or `write`.
    pub permissions: BTreeMap<String, String>,
    /// Whether an owner has suspended it.
    pub suspended: bool,
}

impl Installation {
    /// An installation that may manage the runners of the organization and of all its repositories.
    pub fn new(id: u64, account: &str) -> Self {
        let permissions = [
            ("administration", "write"),
            ("organization_self_hosted_runners", "write"),
            ("actions", "read"),
            ("metadata", "read"),
        ];
        Self {
            id,
            account: account.to_owned(),
            permissions: permissions.map(|(name, level)| (name.to_owned(), level.to_owned())).into(),
            suspended: false,
        }
    }
}

/// The tokens that installations were given.
#[derive(Default)]
pub(super) struct Issued(BTreeMap<String, (u64, Timestamp)>);

impl Issued {
    /// A new token of an installation.
    pub(super) fn issue(
        &mut self,
        app: u64,
        installation: u64,
        expires_at: Timestamp,
        random: &mut Random,
    ) -> String {
        let mut token = format!("ghs_{app}_{}.", random.text());
        while token.len() < TOKEN_LENGTH {
            token.push_str(&random.text());
            if token.len().is_multiple_of(3) {
                token.push_str(if token.len().is_multiple_of(2) { "." } else { "-" });
            }
        }
        token.truncate(TOKEN_LENGTH);
        self.0.insert(token.clone(), (installation, expires_at));
        token
    }

    /// The installation of a token that has not expired.
    pub(super) fn installation(&self, token: &str, now: Timestamp) -> Option<u64> {
        self.0.get(token).filter(|(_, expires_at)| now < *expires_at).map(|&(installation, _)| installation)
    }

    /// Ends all of them.
    pub(super) fn revoke(&mut self) {
        self.0.clear();
    }
}

/// Why a JSON web token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JwtRefused {
    Undecodable,
    NoSuchApp,
    IssuedInTheFuture,
    Expired,
    GoodForTooLong,
}

impl JwtRefused {
    /// In GitHub's words.
    pub(super) const fn message(self) -> &'static str {
        match self {
            Self::Undecodable => "A JSON web token could not be decoded",
            Self::NoSuchApp => "Integration not found",
            Self::IssuedInTheFuture => {
                "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was \
                 issued"
            }
            Self::Expired => {
                "'Expiration time' claim ('exp') must be a numeric value representing the future time at \
                 which \
                 the assertion expires"
            }
            Self::GoodForTooLong => "'Expiration time' claim ('exp') is too far in the future",
        }
    }
}

/// The App that a JSON web token proves to be.
pub(super) fn app_of<'a>(apps: &'a [App], jwt: &str, now: Timestamp) -> Result<&'a App, JwtRefused> {
    let parts: Vec<&str> = jwt.split('.').collect();
    let [header, claims, signature] = parts[..] else { return Err(JwtRefused::Undecodable) };
    let decoded = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).map_err(|_| JwtRefused::Undecodable);
    let json = |part: &str| -> Result<Value, JwtRefused> {
        serde_json::from_slice(&decoded(part)?).map_err(|_| JwtRefused::Undecodable)
    };
    let (header_of, claims_of) = (json(header)?, json(claims)?);
    if header_of["alg"] != "RS256" {
        return Err(JwtRefused::Undecodable);
    }
    let issuer = match &claims_of["iss"] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let is_issuer = |app: &&App| app.client_id == issuer || app.id.to_string() == issuer;
    let app = apps.iter().find(is_issuer).ok_or(JwtRefused::NoSuchApp)?;
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &app.public_key)
        .verify(format!("{header}.{claims}").as_bytes(), &decoded(signature)?)
        .map_err(|_| JwtRefused::Undecodable)?;
    let now = now.as_millis() / 1000;
    let time = |name: &str| claims_of[name].as_u64();
    match (time("iat"), time("exp")) {
        (Some(since), _) if since > now => Err(JwtRefused::IssuedInTheFuture),
        (None, _) => Err(JwtRefused::IssuedInTheFuture),
        (_, Some(expires)) if expires > now + LONGEST_JWT => Err(JwtRefused::GoodForTooLong),
        (_, Some(expires)) if expires > now => Ok(app),
        _ => Err(JwtRefused::Expired),
    }
}

/// The default lifetime of an installation token.
pub(super) const TOKEN_LIFE: Duration = Duration::from_hours(1);

//! The names of things. A runner's name contains its instance, its pool and its mint time, because GitHub's
//! runner records have no owner and no creation time.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::Serialize;
use ulid::Ulid;

use super::time::Timestamp;

/// The prefix of every runner's name.
pub const PREFIX: &str = "dayfly";

/// The longest runner name that GitHub's own tools accept.
pub const MAX_RUNNER_NAME: usize = 64;

/// The longest instance id.
pub const MAX_INSTANCE: usize = 12;

/// Pool and instance together must leave room for prefix, separators and ULID.
pub const MAX_POOL_AND_INSTANCE: usize = MAX_RUNNER_NAME - PREFIX.len() - 3 - ulid::ULID_LEN;

/// Why a text is not a valid name; reads after "is invalid: ".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It is empty.
    #[error("it must not be empty")]
    Empty,
    /// A character that is not allowed.
    #[error("{0:?} is not allowed; use lower-case letters, digits{1}")]
    Character(char, &'static str),
    /// Too long to fit into a runner's name.
    #[error("it has {0} characters, but at most {1} fit into a runner's name")]
    TooLong(usize, usize),
}

fn checked(text: &str, max: usize, hyphens: bool) -> Result<Arc<str>, NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    let hint = if hyphens { " and hyphens, a letter or digit at both ends" } else { "" };
    if let Some(wrong) =
        text.chars().find(|&c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || (hyphens && c == '-')))
    {
        return Err(NameError::Character(wrong, hint));
    }
    if text.starts_with('-') || text.ends_with('-') {
        return Err(NameError::Character('-', hint));
    }
    if text.len() > max {
        return Err(NameError::TooLong(text.len(), max));
    }
    Ok(text.into())
}

macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident, |$text:ident| $parse:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str($text: &str) -> Result<Self, NameError> {
                $parse.map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

text_name!(
    /// The id of this installation: lower-case letters and digits, at most [`MAX_INSTANCE`]. Resources
    /// without it are not touched.
    InstanceId,
    |text| checked(text, MAX_INSTANCE, false)
);

text_name!(
    /// A pool's name: lower-case letters, digits and hyphens.
    PoolName,
    |text| checked(text, MAX_POOL_AND_INSTANCE - 1, true)
);

text_name!(
    /// A host's name in the configuration.
    HostName,
    |text| checked(text, MAX_RUNNER_NAME, true)
);

/// A runner's name: `dayfly-{pool}-{instance}-{ulid}`, at most [`MAX_RUNNER_NAME`] characters.
///
/// It can only be built from valid parts, or parsed from a text that has all parts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunnerName {
    text: Arc<str>,
    pool_end: u8,
    minted_at: Timestamp,
}

impl RunnerName {
    /// The name of a runner of `pool` minted at `now`; `random` makes it unique.
    pub fn new(pool: &PoolName, instance: &InstanceId, now: Timestamp, random: u128) -> Self {
        let ulid = Ulid::from_parts(now.as_millis(), random).to_string().to_ascii_lowercase();
        let text = format!("{PREFIX}-{pool}-{instance}-{ulid}");
        debug_assert!(text.len() <= MAX_RUNNER_NAME, "{text} is too long");
        let pool_end = u8::try_from(PREFIX.len() + 1 + pool.as_str().len()).unwrap_or(u8::MAX);
        Self { text: text.into(), pool_end, minted_at: now }
    }

    /// Parses a name; `None` when the text is not a runner name of any Dayfly instance.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_RUNNER_NAME {
            return None;
        }
        let (head, ulid) = text.rsplit_once('-')?;
        if ulid.len() != ulid::ULID_LEN || ulid.bytes().any(|b| b.is_ascii_uppercase()) {
            return None;
        }
        let minted_at = Timestamp::from_millis(Ulid::from_string(ulid).ok()?.timestamp_ms());
        let (head, instance) = head.rsplit_once('-')?;
        let pool = head.strip_prefix(PREFIX)?.strip_prefix('-')?;
        instance.parse::<InstanceId>().ok()?;
        pool.parse::<PoolName>().ok()?;
        Some(Self { text: text.into(), pool_end: u8::try_from(head.len()).ok()?, minted_at })
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name of the pool that the runner was minted for.
    pub fn pool(&self) -> &str {
        &self.text[PREFIX.len() + 1..usize::from(self.pool_end)]
    }

    /// The instance that minted the runner.
    pub fn instance(&self) -> &str {
        &self.text[usize::from(self.pool_end) + 1..self.text.len() - ulid::ULID_LEN - 1]
    }

    /// When the name was made, just before the mint.
    pub fn minted_at(&self) -> Timestamp {
        self.minted_at
    }
}

impl fmt::Display for RunnerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for RunnerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.text)
    }
}

impl Serialize for RunnerName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// Makes runner names that differ from all others, from a random seed that the shell provides at start: the
/// core itself has no randomness.
#[derive(Clone, Debug)]
pub struct Names {
    instance: InstanceId,
    state: u64,
}

impl Names {
    /// Names for one instance. Two daemons given the same seed at the same millisecond would make
    /// the same names, so the seed comes from the operating system.
    pub fn new(instance: InstanceId, seed: u64) -> Self {
        Self { instance, state: seed }
    }

    /// The instance in the names.
    pub fn instance(&self) -> &InstanceId {
        &self.instance
    }

    /// A name that was not returned before.
    pub fn next(&mut self, pool: &PoolName, now: Timestamp) -> RunnerName {
        let random = u128::from(self.draw()) << 64 | u128::from(self.draw());
        RunnerName::new(pool, &self.instance, now, random)
    }

    /// splitmix64 (Steele, Lea, Flood 2014): every seed gives a sequence without repeats.
    fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names::new("ci1".parse().unwrap(), 7)
    }

    #[test]
    fn a_runner_name_contains_pool_instance_and_mint_time() {
        let now = Timestamp::from_millis(1_795_376_000_123);
        let name = names().next(&"linux-x64".parse().unwrap(), now);
        let read = RunnerName::parse(name.as_str()).unwrap();
        assert_eq!(read, name);
        assert_eq!((read.pool(), read.instance(), read.minted_at()), ("linux-x64", "ci1", now));
    }

    #[test]
    fn names_of_the_same_millisecond_differ() {
        let (mut names, pool) = (names(), "p".parse().unwrap());
        let now = Timestamp::from_millis(5);
        assert_ne!(names.next(&pool, now), names.next(&pool, now));
    }

    #[test]
    fn the_longest_parts_fit() {
        let instance: InstanceId = "i".repeat(MAX_INSTANCE).parse().unwrap();
        let pool: PoolName = "p".repeat(MAX_POOL_AND_INSTANCE - MAX_INSTANCE).parse().unwrap();
        let name = Names::new(instance, 1).next(&pool, Timestamp::default());
        assert_eq!(name.as_str().len(), MAX_RUNNER_NAME);
        assert!(RunnerName::parse(name.as_str()).is_some());
    }

    #[test]
    fn other_peoples_names_are_not_ours() {
        let ulid = "01jd0000000000000000000000";
        for text in [
            "",
            "-",
            "dayfly",
            "my-runner-7",
            "dayfly-linux-ci1-short",
            &format!("dayfly-linux-{ulid}"),
            &format!("dayfly-linux-CI1-{ulid}"),
            &format!("dayfly--ci1-{ulid}"),
            &format!("nightfly-linux-ci1-{ulid}"),
            &format!("dayfly-linux-ci1-{}", ulid.to_ascii_uppercase()),
            &format!("dayfly-linüx-ci1-{ulid}"),
            &format!("dayfly-{}-ci1-{ulid}", "x".repeat(60)),
        ] {
            assert_eq!(RunnerName::parse(text), None, "{text}");
        }
    }

    #[test]
    fn bad_names_are_refused_with_the_reason() {
        assert_eq!("".parse::<PoolName>(), Err(NameError::Empty));
        for bad in ["Linux", "a b", "-a", "a-", "ä", "a/b"] {
            assert!(matches!(bad.parse::<PoolName>(), Err(NameError::Character(..))), "{bad}");
        }
        assert!(matches!("x".repeat(300).parse::<PoolName>(), Err(NameError::TooLong(300, _))));
        assert!("a-b".parse::<InstanceId>().is_err());
    }
}

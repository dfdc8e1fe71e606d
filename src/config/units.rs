//! Values with a unit: sizes, durations, limits. An error says what is expected and never repeats the value.

use std::{borrow::Cow, fmt, time::Duration};

use bytesize::ByteSize;
use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};

/// Longer durations are typing errors.
const LONGEST: Duration = Duration::from_hours(365 * 24);

/// Larger sizes are typing errors.
const LARGEST: u64 = 1 << 50;

/// A size in bytes: `"8GiB"`, `"500MB"`, or a plain number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

/// A duration: `"10s"`, `"1h30m"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Time(pub(super) Duration);

/// A duration, or `"off"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeOrOff(pub(super) Option<Duration>);

/// A limit per process: one number for both, or `[soft, hard]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ulimit(pub(super) i64, pub(super) i64);

/// One name, or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names(pub(super) Vec<String>);

/// A name that may be a number: a GitHub App's client id, or its older number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NumberOrText(pub(super) String);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Sizes;
        impl Visitor<'_> for Sizes {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"8GiB\" or \"500MB\"")
            }

            fn visit_u64<E: Error>(self, bytes: u64) -> Result<Size, E> {
                if bytes > LARGEST {
                    return Err(E::custom("is too large; must be at most 1PiB"));
                }
                Ok(Size(bytes))
            }

            fn visit_i64<E: Error>(self, bytes: i64) -> Result<Size, E> {
                let bytes = u64::try_from(bytes).map_err(|_| E::custom("must not be negative"))?;
                self.visit_u64(bytes)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
                let ByteSize(bytes) = as_docker_means(text.trim())
                    .parse()
                    .map_err(|_| E::custom("must be a size such as \"8GiB\" or \"500MB\""))?;
                self.visit_u64(bytes)
            }
        }
        deserializer.deserialize_any(Sizes)
    }
}

/// A single letter is a binary unit in Docker (`8g` of `docker run --memory`), and a decimal one in the
/// parser.
fn as_docker_means(text: &str) -> Cow<'_, str> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '_' | ' '));
    match unit {
        "k" | "m" | "g" | "t" | "p" | "K" | "M" | "G" | "T" | "P" => format!("{text}iB").into(),
        _ => text.into(),
    }
}

/// Reads text as a duration, or `off` where that means something.
struct Times {
    off: bool,
}

impl Times {
    fn expected(&self) -> &'static str {
        if self.off {
            "a duration such as \"8h\", or \"off\""
        } else {
            "a duration such as \"10s\" or \"1h30m\""
        }
    }
}

impl Visitor<'_> for Times {
    type Value = TimeOrOff;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<TimeOrOff, E> {
        if self.off && text.trim() == "off" {
            return Ok(TimeOrOff(None));
        }
        let time: jiff::SignedDuration =
            text.parse().map_err(|_| E::custom(format_args!("must be {}", self.expected())))?;
        let time = Duration::try_from(time).map_err(|_| E::custom("must not be negative"))?;
        if time > LONGEST {
            return Err(E::custom("is too long; must be at most a year (8760h)"));
        }
        Ok(TimeOrOff(Some(time)))
    }
}

impl<'de> Deserialize<'de> for TimeOrOff {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Times { off: true })
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let TimeOrOff(time) = deserializer.deserialize_any(Times { off: false })?;
        Ok(Self(time.unwrap_or_default()))
    }
}

impl<'de> Deserialize<'de> for Ulimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Ulimits;
        impl<'de> Visitor<'de> for Ulimits {
            type Value = Ulimit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number, or [soft, hard]")
            }

            fn visit_i64<E: Error>(self, both: i64) -> Result<Ulimit, E> {
                Ok(Ulimit(both, both))
            }

            fn visit_u64<E: Error>(self, both: u64) -> Result<Ulimit, E> {
                let both = i64::try_from(both).map_err(|_| E::custom("is out of range"))?;
                Ok(Ulimit(both, both))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Ulimit, A::Error> {
                let wrong = || A::Error::custom("must be a number, or [soft, hard]");
                let soft = seq.next_element()?.ok_or_else(wrong)?;
                let hard = seq.next_element()?.ok_or_else(wrong)?;
                if seq.next_element::<i64>()?.is_some() {
                    return Err(wrong());
                }
                if hard != -1 && (soft == -1 || soft > hard) {
                    return Err(A::Error::custom("the soft limit must not be above the hard limit"));
                }
                Ok(Ulimit(soft, hard))
            }
        }
        let limit = deserializer.deserialize_any(Ulimits)?;
        if limit.0 < -1 || limit.1 < -1 {
            return Err(D::Error::custom("must be -1 (no limit) or more"));
        }
        Ok(limit)
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name in quotes, or a list of names")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Names, E> {
                Ok(Names(vec![name.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = seq.next_element()? {
                    names.push(name);
                }
                Ok(Names(names))
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

impl<'de> Deserialize<'de> for NumberOrText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Both;
        impl Visitor<'_> for Both {
            type Value = NumberOrText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string in quotes, or a number")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<NumberOrText, E> {
                Ok(NumberOrText(number.to_string()))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<NumberOrText, E> {
                let number = u64::try_from(number).map_err(|_| E::custom("must not be negative"))?;
                self.visit_u64(number)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<NumberOrText, E> {
                Ok(NumberOrText(text.to_owned()))
            }
        }
        deserializer.deserialize_any(Both)
    }
}

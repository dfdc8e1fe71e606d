//! GitHub's runner records as sent. Fields that GitHub may omit may be missing, unknown ones are ignored;
//! only a record without id or name is invalid.

use serde::{Deserialize, Serialize, Serializer};

use super::lenient_json::{Row, lenient};
use crate::fleet::{Registration, RegistrationId, RunnerStatus};

/// The used fields of GitHub's record of a runner.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "RunnerBody")]
pub struct RunnerRecord {
    /// GitHub's number.
    pub id: RegistrationId,
    /// The name it was registered with.
    pub name: String,
    /// Whether it is connected.
    #[serde(serialize_with = "status_word")]
    pub status: RunnerStatus,
    /// Whether it has a job. `true` can be believed; `false` lags by up to a minute.
    pub busy: bool,
    /// Its labels, in GitHub's order.
    pub labels: Vec<String>,
    /// `linux` and the like; `unknown` before it first connects.
    pub os: Option<String>,
    /// The runner software's version, once it has connected.
    pub version: Option<String>,
    /// The number of its runner group.
    pub group: Option<u64>,
    /// Whether it takes only one job; GHES up to 3.12 does not report it.
    pub ephemeral: Option<bool>,
}

impl From<&RunnerRecord> for Registration {
    fn from(record: &RunnerRecord) -> Self {
        Self { id: record.id, name: record.name.clone(), status: record.status.clone(), busy: record.busy }
    }
}

fn status_word<S: Serializer>(status: &RunnerStatus, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(match status {
        RunnerStatus::Online => "online",
        RunnerStatus::Offline => "offline",
        RunnerStatus::Other(word) => word,
    })
}

/// A runner as sent (`runner` of GitHub's OpenAPI description, with every field optional).
#[derive(Deserialize)]
struct RunnerBody {
    id: Option<u64>,
    name: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    status: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    busy: Option<bool>,
    #[serde(default, deserialize_with = "lenient")]
    labels: Option<Vec<Row<LabelBody>>>,
    #[serde(default, deserialize_with = "lenient")]
    os: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    version: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    runner_group_id: Option<u64>,
    #[serde(default, deserialize_with = "lenient")]
    ephemeral: Option<bool>,
}

#[derive(Deserialize)]
struct LabelBody {
    name: Option<String>,
}

impl TryFrom<RunnerBody> for RunnerRecord {
    type Error = &'static str;

    fn try_from(wire: RunnerBody) -> Result<Self, Self::Error> {
        Ok(Self {
            id: RegistrationId(wire.id.ok_or("has no id")?),
            name: wire.name.filter(|name| !name.is_empty()).ok_or("has no name")?,
            status: match wire.status.as_deref() {
                Some("online") => RunnerStatus::Online,
                Some("offline") => RunnerStatus::Offline,
                _ => RunnerStatus::Other(wire.status.unwrap_or_default()),
            },
            // A missing field does not mean idle. Treating it as busy can keep that one runner too long;
            // treating it as idle could stop a job, and rejecting the list would affect the whole scope.
            busy: wire.busy.unwrap_or(true),
            labels: {
                let labels = wire.labels.unwrap_or_default().into_iter().filter_map(Row::read);
                labels.filter_map(|label| label.name).collect()
            },
            os: wire.os,
            version: wire.version,
            group: wire.runner_group_id,
            ephemeral: wire.ephemeral,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(json: &str) -> Option<RunnerRecord> {
        serde_json::from_str(json).ok()
    }

    #[test]
    fn a_full_record_is_read() {
        let read = record(
            r#"{"id":23,"name":"a","os":"Linux","status":"online","busy":false,"runner_group_id":1,
                "ephemeral":true,"version":"2.336.0","labels":[{"id":1,"name":"x64","type":"custom"},{"name":"gpu"}],
                "anything":[1]}"#,
        )
        .unwrap();
        assert_eq!(read.status, RunnerStatus::Online);
        assert_eq!(read.labels, ["x64", "gpu"]);
        assert!(!read.busy && read.ephemeral == Some(true) && read.group == Some(1));
        assert!(serde_json::to_string(&read).unwrap().contains(r#""status":"online""#));
    }

    #[test]
    fn what_is_missing_or_null_never_reads_as_idle() {
        for json in
            [r#"{"id":1,"name":"a"}"#, r#"{"id":1,"name":"a","busy":null,"status":null,"labels":null}"#]
        {
            let read = record(json).unwrap();
            assert!(read.busy);
            assert_eq!(read.status, RunnerStatus::Other(String::new()));
        }
        let odd = r#"{"id":1,"name":"a","busy":"no","status":7,"labels":[{"name":"x"},-1],"os":{},"runner_group_id":-1}"#;
        let read = record(odd).unwrap();
        assert!(read.busy && read.status == RunnerStatus::Other(String::new()));
        assert_eq!((read.labels, read.os, read.group), (vec!["x".to_owned()], None, None));
        let strange = record(r#"{"id":1,"name":"a","status":"asleep","busy":false}"#).unwrap();
        assert_eq!(strange.status, RunnerStatus::Other("asleep".to_owned()));
    }

    #[test]
    fn a_record_without_id_or_name_is_none() {
        for json in [r#"{"name":"a"}"#, r#"{"id":1}"#, r#"{"id":1,"name":""}"#, r#"{"id":-1,"name":"a"}"#] {
            assert_eq!(record(json), None);
        }
    }
}

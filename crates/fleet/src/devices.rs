//! What a host hands out to one runner at a time: GPUs, other devices, and the slots of caches.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// One kind of what is handed out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum DeviceClass {
    /// A whole GPU. Its ids are those of the host's `gpus`.
    Gpu,
    /// A device of the host's `exclusive`, by the name there. Its ids are paths.
    Exclusive(String),
    /// A numbered slot of the cache with this source. There are as many as are needed at once.
    Slot(String),
}

impl fmt::Display for DeviceClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gpu => f.write_str("gpu"),
            Self::Exclusive(name) => write!(f, "exclusive:{name}"),
            Self::Slot(source) => write!(f, "slot:{source}"),
        }
    }
}

impl From<DeviceClass> for String {
    fn from(class: DeviceClass) -> Self {
        class.to_string()
    }
}

/// The text is not a class of devices.
#[derive(Debug, thiserror::Error)]
#[error("not a class of devices")]
pub struct DeviceClassError;

impl FromStr for DeviceClass {
    type Err = DeviceClassError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "gpu" => Ok(Self::Gpu),
            Some(("exclusive", name)) => Ok(Self::Exclusive(name.to_owned())),
            Some(("slot", source)) => Ok(Self::Slot(source.to_owned())),
            _ => Err(DeviceClassError),
        }
    }
}

impl TryFrom<String> for DeviceClass {
    type Error = DeviceClassError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// How many of each class.
pub type DeviceCounts = BTreeMap<DeviceClass, u32>;

/// Devices by their ids. As JSON it is the value of a container's label, from which it is read when the runner is
/// adopted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Devices(pub BTreeMap<DeviceClass, BTreeSet<String>>);

impl Devices {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.values().all(BTreeSet::is_empty)
    }

    /// The ids of one class, in order.
    pub fn of(&self, class: &DeviceClass) -> impl Iterator<Item = &str> {
        self.0.get(class).into_iter().flatten().map(String::as_str)
    }

    /// Adds those of another runner.
    pub(super) fn add(&mut self, more: &Self) {
        for (class, ids) in &more.0 {
            self.0.entry(class.clone()).or_default().extend(ids.iter().cloned());
        }
    }

    /// Takes those of a runner out again.
    pub(super) fn remove(&mut self, less: &Self) {
        for (class, ids) in &less.0 {
            if let Some(own) = self.0.get_mut(class) {
                own.retain(|id| !ids.contains(id));
            }
        }
    }

    /// Chooses devices for a runner, of a host that has `all` and of which these are in use; the first free ones in
    /// the order of the configuration. The class of which too few are free is the error.
    pub(super) fn choose(
        &self,
        all: &BTreeMap<DeviceClass, Vec<String>>,
        needed: &DeviceCounts,
    ) -> Result<Self, DeviceClass> {
        let mut chosen = Self::default();
        for (class, &count) in needed {
            // A device may have had another name in an earlier configuration.
            let is_same = |other: &DeviceClass| match class {
                DeviceClass::Exclusive(_) => matches!(other, DeviceClass::Exclusive(_)),
                DeviceClass::Gpu | DeviceClass::Slot(_) => other == class,
            };
            let used = |id: &String| self.0.iter().any(|(other, used)| is_same(other) && used.contains(id));
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            let free: BTreeSet<String> = match class {
                DeviceClass::Slot(_) => {
                    (0_u32..).map(|n| n.to_string()).filter(|id| !used(id)).take(count).collect()
                }
                DeviceClass::Gpu | DeviceClass::Exclusive(_) => {
                    let ids = all.get(class).into_iter().flatten();
                    ids.filter(|id| !used(id)).take(count).cloned().collect()
                }
            };
            if free.len() < count {
                return Err(class.clone());
            }
            chosen.0.insert(class.clone(), free);
        }
        Ok(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices(of: &[(DeviceClass, &[&str])]) -> Devices {
        Devices(
            of.iter()
                .map(|(class, ids)| (class.clone(), ids.iter().map(|&id| id.into()).collect()))
                .collect(),
        )
    }

    #[test]
    fn the_first_free_ones_are_chosen_or_the_class_that_is_used_up_is_named() {
        let serial = DeviceClass::Exclusive("serial".into());
        let all = BTreeMap::from([
            (DeviceClass::Gpu, vec!["1".to_owned(), "0".to_owned(), "2".to_owned()]),
            (serial.clone(), vec!["/dev/ttyUSB0".to_owned()]),
        ]);
        let used = devices(&[(DeviceClass::Gpu, &["1"]), (DeviceClass::Slot("c".into()), &["0", "2"])]);
        let choose = |needed: &[(DeviceClass, u32)]| used.choose(&all, &needed.iter().cloned().collect());

        let chosen = choose(&[(DeviceClass::Gpu, 1), (serial.clone(), 1)]).unwrap();
        assert_eq!(chosen, devices(&[(DeviceClass::Gpu, &["0"]), (serial.clone(), &["/dev/ttyUSB0"])]));
        assert_eq!(choose(&[(DeviceClass::Gpu, 3)]), Err(DeviceClass::Gpu));
        assert_eq!(choose(&[(serial.clone(), 2)]), Err(serial));
        let slot = DeviceClass::Slot("c".into());
        assert_eq!(choose(&[(slot.clone(), 2)]).unwrap().of(&slot).collect::<Vec<_>>(), ["1", "3"]);
        assert!(choose(&[]).unwrap().is_empty());
        // It had another name in an earlier configuration.
        let renamed = devices(&[(DeviceClass::Exclusive("modem".into()), &["/dev/ttyUSB0"])]);
        assert!(renamed.choose(&all, &[(DeviceClass::Exclusive("serial".into()), 1)].into()).is_err());
    }

    #[test]
    fn a_class_is_written_and_read_in_one_form() {
        for class in [DeviceClass::Gpu, DeviceClass::Exclusive("a:b".into()), DeviceClass::Slot("c".into())] {
            assert_eq!(class.to_string().parse::<DeviceClass>().unwrap(), class);
        }
        assert!("gpus".parse::<DeviceClass>().is_err());
    }
}

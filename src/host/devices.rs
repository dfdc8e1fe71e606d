//! What a runner has of its host for itself, as the engine takes it.

use bollard::models::{DeviceMapping, DeviceRequest};

use crate::fleet::{DeviceClass, Devices};

/// The requests for a runner's GPUs. Ids with the form of a CDI name (`VENDOR/CLASS=NAME`) go to the engine's CDI
/// driver (Docker 25 and newer, and Podman), others to the driver for the capability `gpu`, as with
/// `docker run --gpus device=ID`.
pub(super) fn gpus(devices: &Devices) -> Vec<DeviceRequest> {
    let (cdi, plain): (Vec<_>, Vec<_>) =
        devices.of(&DeviceClass::Gpu).map(str::to_owned).partition(|id| id.contains('/') && id.contains('='));
    let cdi = (!cdi.is_empty()).then(|| DeviceRequest {
        driver: Some("cdi".to_owned()),
        device_ids: Some(cdi),
        ..DeviceRequest::default()
    });
    let plain = (!plain.is_empty()).then(|| DeviceRequest {
        device_ids: Some(plain),
        capabilities: Some(vec![vec!["gpu".to_owned()]]),
        ..DeviceRequest::default()
    });
    cdi.into_iter().chain(plain).collect()
}

/// A runner's exclusive devices, at the same path in its container.
pub(super) fn exclusive(devices: &Devices) -> impl Iterator<Item = DeviceMapping> {
    let exclusive = devices.0.iter().filter(|(class, _)| matches!(class, DeviceClass::Exclusive(_)));
    exclusive.flat_map(|(_, paths)| paths).map(|path| DeviceMapping {
        path_on_host: Some(path.clone()),
        path_in_container: Some(path.clone()),
        cgroup_permissions: Some("rwm".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_requested_by_id_and_cdi_devices_by_name() {
        let ids = ["0", "GPU-3a", "nvidia.com/gpu=1"].map(str::to_owned);
        let devices = Devices([(DeviceClass::Gpu, ids.into())].into());
        let [cdi, plain] = gpus(&devices).try_into().unwrap();
        assert_eq!((cdi.driver.as_deref(), cdi.capabilities), (Some("cdi"), None));
        assert_eq!(cdi.device_ids.unwrap(), ["nvidia.com/gpu=1"]);
        assert_eq!(
            (plain.driver, plain.device_ids.unwrap()),
            (None, vec!["0".to_owned(), "GPU-3a".to_owned()])
        );
        assert_eq!(plain.capabilities.unwrap(), [["gpu"]]);
        assert!(gpus(&Devices::default()).is_empty());
    }
}

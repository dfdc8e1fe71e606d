//! Caches: who can write to them, who gets what is in them, and that only a promotion changes a base.

use std::collections::{BTreeMap, HashMap};

use bollard::{
    models::{ContainerCreateBody, VolumeCreateRequest},
    query_parameters::{CreateContainerOptions, ListVolumesOptionsBuilder},
};
use dayfly::{
    fleet::{AttachmentKind, Cache, CacheStore, DeviceClass, Devices, Pool, RunnerName},
    host::{Host, HostError, Preparation, Prepared},
};

use super::stand::{IDLE, Stand};

const TARGET: &str = "/home/runner/.cache/tools";

/// Logs what is in the cache, then puts this into it.
fn visit(leaves: &str) -> String {
    format!(
        "read -r found < {TARGET}/state; echo \"found: $found\"; \
         if echo '{leaves}' > {TARGET}/state; then echo written; else echo refused; fi"
    )
}

fn cached(stand: &Stand, store: CacheStore, leaves: &str) -> Pool {
    let mut pool = stand.pool(&visit(leaves));
    pool.scope = "https://github.com/acme/widgets".parse().unwrap();
    pool.template.image = stand.tools();
    pool.template.caches = vec![Cache { target: TARGET.to_owned(), store }];
    pool
}

fn slot(number: &str) -> Devices {
    Devices(BTreeMap::from([(DeviceClass::Slot("cargo".to_owned()), [number.to_owned()].into())]))
}

async fn prepare(
    stand: &Stand,
    runner: &RunnerName,
    pool: &Pool,
    devices: &Devices,
) -> Result<Prepared, HostError> {
    stand.docker.prepare(Preparation { runner, pool, image: &pool.template.image, devices }).await
}

/// What a runner's job finds in its cache, and whether it could write. What the runner leaves stays.
async fn job(stand: &Stand, pool: &Pool, devices: &Devices) -> (RunnerName, String) {
    let runner = stand.name();
    let prepared = prepare(stand, &runner, pool, devices).await.unwrap();
    let id = stand.create_prepared(&runner, pool, &prepared).await.unwrap();
    stand.docker.start(&id).await.unwrap();
    let exit = stand.ended(&id).await;
    stand.docker.remove(&id).await.unwrap();
    let said: Vec<_> = exit.log_tail.lines().filter(|line| !line.contains("/bin/sh")).collect();
    (runner, said.join(" "))
}

/// The same, with all that was made for the runner removed.
async fn passing(stand: &Stand, pool: &Pool, devices: &Devices) -> String {
    let (runner, said) = job(stand, pool, devices).await;
    stand.docker.detach(&runner).await.unwrap();
    said
}

/// The kinds of the cache's volumes.
async fn volumes(stand: &Stand) -> Vec<String> {
    let filters = HashMap::from([("label", vec![format!("dev.dayfly.instance={}", stand.instance)])]);
    let options = ListVolumesOptionsBuilder::new().filters(&filters).build();
    let listed = stand.engine.list_volumes(Some(options)).await.unwrap().volumes.unwrap_or_default();
    let mut kinds: Vec<String> =
        listed.into_iter().map(|volume| volume.labels["dev.dayfly.cache.kind"].clone()).collect();
    kinds.sort();
    kinds
}

#[tokio::test]
async fn a_job_writes_a_shared_cache_and_not_a_read_only_one_of_the_same_source() {
    let stand = Stand::with_tools().await;
    let none = Devices::default();
    let writer = cached(&stand, CacheStore::Shared("cargo".to_owned()), "warm");
    let reader = cached(&stand, CacheStore::ReadOnly("cargo".to_owned()), "poison");
    // The image has no such folder, and its user is not root.
    assert_eq!(passing(&stand, &writer, &none).await, "found:  written");
    assert_eq!(passing(&stand, &reader, &none).await, "found: warm refused");
    assert_eq!(passing(&stand, &writer, &none).await, "found: warm written");
    assert_eq!(volumes(&stand).await, ["shared"]);
    let listed = stand.docker.list().await.unwrap();
    assert_eq!((listed.containers, listed.attachments), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn a_folder_of_the_host_can_be_read_and_a_missing_one_is_refused() {
    let stand = Stand::with_tools().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("state"), "hosted\n").unwrap();
    let of = |path: &str| cached(&stand, CacheStore::ReadOnly(path.to_owned()), "poison");
    let path = folder.path().to_str().unwrap();
    let mut readable = std::fs::metadata(path).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut readable, 0o755);
    std::fs::set_permissions(path, readable).unwrap();
    assert_eq!(passing(&stand, &of(path), &Devices::default()).await, "found: hosted refused");
    let (runner, missing) = (stand.name(), of(&format!("{path}/missing")));
    let prepared = prepare(&stand, &runner, &missing, &Devices::default()).await.unwrap();
    let error = stand.create_prepared(&runner, &missing, &prepared).await.unwrap_err();
    assert!(matches!(&error, HostError::Refused(why) if why.contains("missing")), "{error}");
}

#[tokio::test]
async fn a_slot_belongs_to_the_runners_user_and_stays_when_the_runner_is_gone() {
    let stand = Stand::with_tools().await;
    let cargo = |leaves: &str| cached(&stand, CacheStore::Slot("cargo".to_owned()), leaves);
    assert_eq!(passing(&stand, &cargo("first"), &slot("0")).await, "found:  written");
    assert_eq!(passing(&stand, &cargo("second"), &slot("1")).await, "found:  written");
    assert_eq!(passing(&stand, &cargo("third"), &slot("0")).await, "found: first written");
    assert_eq!(passing(&stand, &cargo("fourth"), &slot("1")).await, "found: second written");
    // Another user by its number, in a slot of its own.
    let mut numbered = cargo("fifth");
    numbered.template.user = Some("1002:1003".to_owned());
    assert_eq!(passing(&stand, &numbered, &slot("2")).await, "found:  written");
    assert_eq!(volumes(&stand).await, ["slot", "slot", "slot"]);
}

#[tokio::test]
async fn only_a_promotion_changes_what_the_next_job_finds() {
    let stand = Stand::with_tools().await;
    let none = Devices::default();
    let cargo = |leaves: &str| cached(&stand, CacheStore::Promoted("cargo".to_owned()), leaves);
    assert_eq!(passing(&stand, &cargo("discarded"), &none).await, "found:  written");
    let (trusted, said) = job(&stand, &cargo("good"), &none).await;
    assert_eq!(said, "found:  written", "what the first left is gone");
    assert_eq!(volumes(&stand).await, ["copy"]);
    let listed = stand.docker.list().await.unwrap().attachments;
    assert_eq!(
        listed.iter().map(|a| (&a.runner, a.kind)).collect::<Vec<_>>(),
        [(&trusted, AttachmentKind::Volume)]
    );
    stand.docker.promote(&trusted, &cargo("")).await.unwrap();
    stand.docker.detach(&trusted).await.unwrap();
    assert_eq!(volumes(&stand).await, ["base", "current"]);

    // A hostile job can do what it likes with its copy.
    assert_eq!(passing(&stand, &cargo("poison"), &none).await, "found: good written");
    let (second, said) = job(&stand, &cargo("better"), &none).await;
    assert_eq!(said, "found: good written");
    stand.docker.promote(&second, &cargo("")).await.unwrap();
    stand.docker.detach(&second).await.unwrap();
    assert_eq!(volumes(&stand).await, ["base", "current"], "the old base is removed");
    assert_eq!(passing(&stand, &cargo("poison"), &none).await, "found: better written");

    // Another repository has bases of its own.
    let mut other = cargo("poison");
    other.scope = "https://github.com/acme/gadgets".parse().unwrap();
    assert_eq!(passing(&stand, &other, &none).await, "found:  written");
    let (foreign, _) = job(&stand, &other, &none).await;
    stand.docker.promote(&foreign, &cargo("")).await.unwrap();
    stand.docker.detach(&foreign).await.unwrap();
    assert_eq!(passing(&stand, &cargo("poison"), &none).await, "found: better written");
}

#[tokio::test]
async fn an_interrupted_promotion_leaves_the_old_base_or_the_new_one() {
    let stand = Stand::with_tools().await;
    let none = Devices::default();
    let cargo = |leaves: &str| cached(&stand, CacheStore::Promoted("cargo".to_owned()), leaves);
    let (trusted, _) = job(&stand, &cargo("old"), &none).await;
    stand.docker.promote(&trusted, &cargo("")).await.unwrap();
    stand.docker.detach(&trusted).await.unwrap();

    // It ended before the pointer: the base is there, in part, and nothing names it.
    let prefix = format!("dayfly-{}-cache-cargo", stand.instance);
    let make = async |name: &str, kind: &str, more: &[(&str, &str)]| {
        let usual = [
            ("dev.dayfly.instance", stand.instance.as_str()),
            ("dev.dayfly.cache", "cargo"),
            ("dev.dayfly.cache.kind", kind),
            ("dev.dayfly.scope", "https://github.com/acme/widgets"),
        ];
        let labels = usual.iter().chain(more).map(|&(key, value)| (key.to_owned(), value.to_owned()));
        let request = VolumeCreateRequest {
            name: Some(format!("{prefix}-{name}")),
            labels: Some(labels.collect()),
            ..VolumeCreateRequest::default()
        };
        stand.engine.create_volume(request).await.unwrap();
    };
    make("base-half", "base", &[]).await;
    assert_eq!(passing(&stand, &cargo("x"), &none).await, "found: old written");

    // It ended after the pointer, with the old one still there: the new base is complete, here empty.
    let base = format!("{prefix}-base-half");
    make("current-new", "current", &[("dev.dayfly.cache.base", &base), ("dev.dayfly.cache.generation", "2")])
        .await;
    assert_eq!(volumes(&stand).await, ["base", "base", "current", "current"]);
    assert_eq!(passing(&stand, &cargo("x"), &none).await, "found:  refused", "root made that base");

    let (trusted, _) = job(&stand, &cargo("x"), &none).await;
    stand.docker.promote(&trusted, &cargo("")).await.unwrap();
    stand.docker.detach(&trusted).await.unwrap();
    assert_eq!(volumes(&stand).await, ["base", "current"], "the next promotion removes what is left");
}

#[tokio::test]
async fn a_promotion_that_fails_changes_nothing() {
    let stand = Stand::with_tools().await;
    let none = Devices::default();
    let cargo = |leaves: &str| cached(&stand, CacheStore::Promoted("cargo".to_owned()), leaves);
    let (trusted, _) = job(&stand, &cargo("good"), &none).await;
    stand.docker.promote(&trusted, &cargo("")).await.unwrap();
    stand.docker.detach(&trusted).await.unwrap();
    let (second, _) = job(&stand, &cargo("lost"), &none).await;
    let mut without_cp = cargo("");
    without_cp.template.image.clone_from(&stand.image);
    let error = stand.docker.promote(&second, &without_cp).await.unwrap_err().to_string();
    assert!(error.contains("a base of the cache cargo") && error.contains("cp"), "{error}");
    stand.docker.detach(&second).await.unwrap();
    assert_eq!(passing(&stand, &cargo("x"), &none).await, "found: good written");
}

#[tokio::test]
async fn a_volume_that_has_the_name_and_is_not_ours_is_not_used() {
    let stand = Stand::with_tools().await;
    let name = format!("dayfly-{}-cache-cargo", stand.instance);
    let labels = HashMap::from([("dev.dayfly.instance".to_owned(), stand.instance.to_string())]);
    let request =
        VolumeCreateRequest { name: Some(name.clone()), labels: Some(labels), ..Default::default() };
    stand.engine.create_volume(request).await.unwrap();
    let pool = cached(&stand, CacheStore::Shared("cargo".to_owned()), "x");
    let error = prepare(&stand, &stand.name(), &pool, &Devices::default()).await.unwrap_err();
    assert!(matches!(&error, HostError::Refused(why) if why.contains(&name)), "{error}");
}

#[tokio::test]
async fn what_an_interrupted_preparation_left_is_listed_and_removed() {
    let stand = Stand::with_tools().await;
    let runner = stand.name();
    let labels = [
        ("dev.dayfly.instance", stand.instance.as_str()),
        ("dev.dayfly.runner", runner.as_str()),
        ("dev.dayfly.attachment", "setup"),
    ];
    let body = ContainerCreateBody {
        image: Some(stand.image.clone()),
        cmd: Some(["/bin/sh", "-c", IDLE].map(str::to_owned).to_vec()),
        labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
        ..ContainerCreateBody::default()
    };
    stand.engine.create_container(None::<CreateContainerOptions>, body).await.unwrap();
    let listed = stand.docker.list().await.unwrap().attachments;
    assert_eq!(
        listed.iter().map(|a| (&a.runner, a.kind)).collect::<Vec<_>>(),
        [(&runner, AttachmentKind::Setup)]
    );
    stand.docker.detach(&runner).await.unwrap();
    assert_eq!(stand.docker.list().await.unwrap().attachments, Vec::new());
}

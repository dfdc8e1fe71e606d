//! `dayfly purge`: removing scale sets.

use std::{path::Path, sync::Arc};

use dayfly::{
    github::{
        Client, Credential, TokenSource,
        scale_set::{ScaleSet, ScaleSets, Session},
    },
    simulator::{Settings, Simulator},
};

use super::stand::Stand;

/// The set of a pool, created and served by another client.
async fn served(
    simulator: &Simulator,
    folder: &Path,
    name: &str,
    owner: &str,
) -> (ScaleSets, ScaleSet, Session) {
    let credential = Credential::new(TokenSource::File(folder.join("token")));
    let scope = simulator.scope_url("acme").parse().unwrap();
    let sets = ScaleSets::new(Client::new(scope, &credential, Arc::new(|_| {})).unwrap());
    let set = sets.ensure("Default", name, &[]).await.unwrap().set;
    let session = sets.open(set.id, owner).await.unwrap();
    (sets, set, session)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_is_removed_unless_another_installation_serves_it() {
    let simulator = Simulator::start(Settings::default()).await.unwrap();
    let stand = Stand::new();
    let pool = |name: &str| {
        let url = simulator.scope_url("acme");
        format!(
            "[[pool]]\nname = \"{name}\"\nurl = \"{url}\"\nlabels = [\"{name}\"]\ndemand = [\"scale-set\"]\n"
        )
    };
    stand.configure(&format!("{}{}", pool("linux"), pool("gpu")));
    let (sets, set, session) = served(&simulator, stand.path(), "linux", "dayfly/ci2@there").await;
    let (_, own, left) = served(&simulator, stand.path(), "gpu", "dayfly/us@here").await;
    let notes = stand.path().join("state/sessions");
    std::fs::create_dir_all(&notes).unwrap();
    std::fs::write(notes.join("gpu"), format!("{} {}\n", own.id, left.id.as_str())).unwrap();

    let said = stand.run(&["purge", "--yes"]).await;
    assert_eq!(said.code(), 1, "{said:?}");
    assert!(said.err.contains("not removed: dayfly/ci2@there is using it"), "{said:?}");
    assert!(said.out.contains("scale set gpu") && said.out.contains("removed"), "{said:?}");
    assert!(!notes.join("gpu").exists());
    let names = || simulator.scale_sets().views().into_iter().map(|set| set.name).collect::<Vec<_>>();
    assert_eq!(names(), ["linux"]);

    sets.close(set.id, &session.id).await.unwrap();
    let said = stand.run(&["purge", "--yes", "linux"]).await;
    assert!(said.code() == 0 && names().is_empty(), "{said:?}");

    let url = simulator.scope_url("acme");
    stand.configure(&format!("[[pool]]\nname = \"linux\"\nurl = \"{url}\"\nlabels = [\"linux\"]\n"));
    let said = stand.run(&["purge", "--yes"]).await;
    assert!(said.code() == 0 && said.out.starts_with("nothing to remove"), "{said:?}");
}

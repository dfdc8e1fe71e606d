//! Enterprises, on a server with its API below `/api/v3`, and the runner groups above repositories.

use std::sync::Arc;

use dayfly::{
    github::{Client, Credential, GithubError, Mint, RunnerApi, TokenSource},
    simulator::{GroupPolicy, Presence, Settings, Simulator},
};

use super::world::{World, complains, runner_name};

struct Place {
    simulator: Simulator,
    directory: tempfile::TempDir,
}

impl Place {
    async fn new(token: &str) -> Self {
        let policies = [
            (
                "gpu",
                GroupPolicy {
                    visibility: "selected",
                    repositories: (0..120).map(|n| format!("acme/r{n}")).collect(),
                    ..GroupPolicy::default()
                },
            ),
            ("shared", GroupPolicy { inherited: true, ..GroupPolicy::default() }),
            (
                "release",
                GroupPolicy {
                    workflows: vec!["acme/ci/.github/workflows/r.yml@main".to_owned()],
                    ..GroupPolicy::default()
                },
            ),
        ];
        let simulator = Simulator::start(Settings {
            scopes: ["acme", "enterprises/umbrella"].map(str::to_owned).to_vec(),
            groups: ["Default", "gpu", "shared", "release"].map(str::to_owned).to_vec(),
            group_policies: policies.map(|(name, policy)| (name.to_owned(), policy)).into(),
            tokens: vec![token.to_owned()],
            ..Settings::default()
        })
        .await
        .unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("token"), token).unwrap();
        Self { simulator, directory }
    }

    fn client(&self, scope: &str) -> Client {
        let credential = Credential::new(TokenSource::File(self.directory.path().join("token")));
        let scope = self.simulator.scope_url(scope).parse().unwrap();
        Client::new(scope, &credential, Arc::new(|_| {})).unwrap()
    }
}

async fn mint(client: &Client, group: &str) -> Result<dayfly::fleet::RegistrationId, GithubError> {
    let (name, labels) = (runner_name(), ["linux".to_owned()]);
    client.mint(Mint { name: &name, group, labels: &labels }).await.map(|minted| minted.id)
}

#[tokio::test]
async fn an_enterprise_s_runners_are_minted_listed_shown_and_removed() {
    let place = Place::new("ghp_classic").await;
    let client = place.client("enterprises/umbrella");
    let id = mint(&client, "gpu").await.unwrap();
    for n in 0..130 {
        place.simulator.register("enterprises/umbrella", &format!("r{n}"), &[], Presence::Idle);
    }
    assert_eq!(client.list().await.unwrap().registrations.len(), 131);
    assert_eq!(client.get(id).await.unwrap().group, Some(3));
    client.delete(id).await.unwrap();
    assert!(matches!(client.get(id).await, Err(GithubError::NotFound)));
    let groups = client.groups().await.unwrap();
    assert_eq!(
        groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>(),
        ["Default", "gpu", "shared", "release"]
    );
    assert_eq!(client.probe().await.unwrap().public, None);
    let paths: Vec<_> = place.simulator.requests().into_iter().map(|request| request.path).collect();
    assert!(paths.iter().all(|path| path.starts_with("/enterprises/umbrella/actions/runner")), "{paths:?}");
}

#[tokio::test]
async fn only_a_classic_token_reaches_an_enterprise_and_the_text_says_so() {
    let place = Place::new("github_pat_fine").await;
    let client = place.client("enterprises/umbrella");
    for error in [client.probe().await.unwrap_err(), mint(&client, "gpu").await.unwrap_err()] {
        let text = error.to_string();
        assert!(
            text.contains("manage_runners:enterprise") && text.contains("only a classic token"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn groups_have_what_matching_needs_and_their_repositories_on_all_pages() {
    let place = Place::new("ghp_classic").await;
    let client = place.client("acme");
    let groups = client.groups().await.unwrap();
    let of = |name: &str| groups.iter().find(|group| group.name == name).unwrap();
    assert_eq!(of("gpu").visibility.as_deref(), Some("selected"));
    assert!(of("shared").inherited && !of("gpu").inherited);
    assert!(of("release").restricted_to_workflows && !of("gpu").restricted_to_workflows);
    assert_eq!(of("release").selected_workflows, ["acme/ci/.github/workflows/r.yml@main"]);
    let repositories = client.group_repositories(of("gpu").id).await.unwrap();
    assert_eq!((repositories.len(), repositories[119].full_name.as_str()), (120, "acme/r119"));
}

#[tokio::test]
async fn a_group_that_takes_no_runners_is_reported_with_those_that_do() {
    let place = Place::new("ghp_classic").await;
    let client = place.client("acme");
    let text = mint(&client, "shared").await.unwrap_err().to_string();
    let others = r#"set group to another one: "Default", "gpu", "release""#;
    assert!(text.contains("belongs to the enterprise") && text.contains(others), "{text}");
    let text = mint(&client, "cpu").await.unwrap_err().to_string();
    assert!(text.contains(r#"no runner group "cpu""#) && text.contains(r#""release""#), "{text}");
    // Known from before, and gone since.
    mint(&client, "release").await.unwrap();
    place.simulator.set(|settings| drop(settings.groups.pop()));
    let text = mint(&client, "release").await.unwrap_err().to_string();
    assert!(text.contains(r#"no runner group "release""#), "{text}");
}

#[tokio::test]
async fn a_permission_that_is_missing_is_not_taken_for_a_group() {
    let world = World::new("acme", |request| match request.uri.path() {
        path if path.ends_with("/runner-groups") => super::world::says(
            200,
            &serde_json::json!({"total_count": 1, "runner_groups": [{"id": 1, "name": "Default", "default": true}]}),
        ),
        _ => complains(403, "Resource not accessible by personal access token"),
    })
    .await;
    let text = world.mint_error().await.to_string();
    assert!(text.contains("Self-hosted runners: read and write"), "{text}");
}

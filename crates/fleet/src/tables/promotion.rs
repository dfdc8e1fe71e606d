//! Which jobs leave their caches to the next ones: decided from GitHub's records alone.

use super::*;

const OWN: &str = "https://github.com/acme/widgets";
const FORK: &str = "https://github.com/mallory/widgets";

fn origin(event: &str, branch: &str, head: &str) -> JobOrigin {
    JobOrigin {
        event: event.to_owned(),
        head_branch: branch.to_owned(),
        head_repository: head.parse().unwrap(),
        default_branch: "main".to_owned(),
    }
}

fn trusted() -> JobOrigin {
    origin("push", "main", OWN)
}

/// A running runner of a pool with such a cache.
fn board(store: CacheStore) -> (Board, RunnerName) {
    let caches = vec![Cache { target: "/cache".to_owned(), store }];
    let template = Template { caches, ..Template::default() };
    let pool = Pool { template, scope: OWN.parse().unwrap(), ..pool(policy(0, 1)) };
    let board = Board::new("b", pool, host());
    let runner = board.letters[0].1.clone();
    (board, runner)
}

fn promoted() -> (Board, RunnerName) {
    board(CacheStore::Promoted("cargo".to_owned()))
}

impl Board {
    /// GitHub reports that the runner has a job of this repository.
    fn takes(&mut self, runner: &RunnerName, repository: &str) {
        let facts = JobFacts {
            name: "build".to_owned(),
            repository: repository.parse().unwrap(),
            run_id: 7,
            url: String::new(),
            queued_at: shown(self.now),
        };
        let (runner, queued_at) = (runner.to_string(), self.now);
        self.observe(Evidence::Took { runner, facts: Arc::new(facts), queued_at });
    }

    fn origin(&mut self, origin: JobOrigin) {
        self.observe(Evidence::Origin { repository: OWN.parse().unwrap(), run_id: 7, origin });
    }

    fn ends_with(&mut self, runner: &RunnerName, result: &str, code: i64) {
        let exit = Exit { result: Some(result.to_owned()), ..exit(Some("build"), code, self.now) };
        self.observe(Evidence::Exited { runner: runner.clone(), exit });
    }

    /// Whether the removal that is planned now promotes; `None` when none is planned.
    fn promotes(&mut self) -> Option<bool> {
        self.fleet.plan(self.now).actions.into_iter().find_map(|action| match action {
            Action::Remove { promote, .. } => Some(promote),
            _ => None,
        })
    }
}

#[test]
fn only_a_trusted_job_that_succeeded_leaves_its_cache_to_others() {
    for (origin, result, code, promotes) in [
        (trusted(), "Succeeded", 0, true),
        (trusted(), "SucceededWithIssues", 0, true),
        (origin("schedule", "main", OWN), "Succeeded", 0, true),
        (trusted(), "Failed", 0, false),
        (trusted(), "Canceled", 0, false),
        (trusted(), "Succeeded", 137, false),
        // A fork's pull request, whose branch has the name of the default branch and whose job claims to be fine.
        (origin("pull_request", "main", FORK), "Succeeded", 0, false),
        (origin("pull_request_target", "main", OWN), "Succeeded", 0, false),
        (origin("push", "feature", OWN), "Succeeded", 0, false),
        (origin("push", "main", FORK), "Succeeded", 0, false),
    ] {
        let (mut board, runner) = promoted();
        board.takes(&runner, OWN);
        board.origin(origin.clone());
        board.ends_with(&runner, result, code);
        assert_eq!(board.promotes(), Some(promotes), "{origin:?} {result} {code}");
    }
}

#[test]
fn what_github_has_not_reported_is_awaited_for_a_while_and_then_not_promoted() {
    let (mut board, runner) = promoted();
    board.takes(&runner, OWN);
    board.ends_with(&runner, "Succeeded", 0);
    assert_eq!(board.promotes(), None, "its origin may be known soon");
    let wake_at = board.fleet.plan(board.now).wake_at;
    assert_eq!(wake_at, Some(board.now + 2 * MINUTE));
    board.origin(trusted());
    assert_eq!(board.promotes(), Some(true));

    for known in [true, false] {
        let (mut board, runner) = promoted();
        if known {
            board.takes(&runner, OWN);
        }
        board.ends_with(&runner, "Succeeded", 0);
        board.now = board.now + 2 * MINUTE;
        assert_eq!(board.promotes(), Some(false), "{known}");
    }
}

#[test]
fn the_origin_of_another_run_or_repository_is_not_that_of_the_job() {
    let (mut board, runner) = promoted();
    board.takes(&runner, OWN);
    board.observe(Evidence::Origin { repository: OWN.parse().unwrap(), run_id: 8, origin: trusted() });
    board.observe(Evidence::Origin { repository: FORK.parse().unwrap(), run_id: 7, origin: trusted() });
    board.ends_with(&runner, "Succeeded", 0);
    board.now = board.now + 2 * MINUTE;
    assert_eq!(board.promotes(), Some(false));

    // A job of another repository than the pool's has none of its base's.
    let (mut board, runner) = promoted();
    board.takes(&runner, FORK);
    let (repository, run_id) = (FORK.parse().unwrap(), 7);
    board.observe(Evidence::Origin { repository, run_id, origin: origin("push", "main", FORK) });
    board.ends_with(&runner, "Succeeded", 0);
    board.now = board.now + 2 * MINUTE;
    assert_eq!(board.promotes(), Some(false));
}

#[test]
fn a_runner_without_a_job_or_without_such_a_cache_is_removed_at_once() {
    let (mut board, runner) = board(CacheStore::Slot("cargo".to_owned()));
    board.takes(&runner, OWN);
    board.origin(trusted());
    board.ends_with(&runner, "Succeeded", 0);
    assert_eq!(board.promotes(), Some(false));

    let (mut board, runner) = promoted();
    let exit = exit(None, 0, board.now);
    board.observe(Evidence::Exited { runner, exit });
    assert_eq!(board.promotes(), Some(false));
}

#[test]
fn a_job_that_ran_out_of_memory_or_lost_its_sidecar_leaves_nothing() {
    let (mut board, runner) = promoted();
    board.takes(&runner, OWN);
    board.origin(trusted());
    board.observe(Evidence::OutOfMemory { runner: runner.clone() });
    board.ends_with(&runner, "Succeeded", 0);
    assert_eq!(board.promotes(), Some(false));
}

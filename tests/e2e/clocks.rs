//! The wall clock of the daemon's machine is wrong, and set while it runs (rule 12). libfaketime shifts it for
//! the daemon alone; Debian's package `faketime` has it.

use std::{fs, path::Path, time::Duration};

use dayfly::simulator::{Endpoint, Fault, FaultKind};

use crate::world::{World, pool, until};

/// Where Debian has the library, by architecture.
const LIBRARIES: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
];

/// The library; `None`, after a line that says so, where it is missing and need not be there.
#[expect(clippy::print_stderr, reason = "the output shows what was not checked")]
fn library() -> Option<&'static str> {
    let found = LIBRARIES.into_iter().find(|path| Path::new(path).exists());
    if found.is_none() {
        assert!(
            std::env::var_os("DAYFLY_REQUIRE_FAKETIME").is_none(),
            "DAYFLY_REQUIRE_FAKETIME is set, and there is no libfaketime"
        );
        eprintln!("skipped: there is no libfaketime (Debian's package faketime)");
    }
    found
}

/// A daemon whose wall clock is off by as much as `set` says last.
struct Clock<'w>(&'w mut World);

impl Clock<'_> {
    fn set(&self, offset: &str) {
        fs::write(self.0.path("clock"), offset).unwrap();
    }

    async fn start(&mut self, library: &str, offset: &str) {
        self.set(offset);
        let file = self.0.path("clock");
        self.0
            .start_as(|command| {
                command
                    .env("LD_PRELOAD", library)
                    .env("FAKETIME_TIMESTAMP_FILE", file)
                    .env("FAKETIME_NO_CACHE", "1")
                    .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
            })
            .await;
    }

    /// Kills the idle runner, and waits until another idles in its place.
    async fn replaced(&self) {
        let idle = self.0.idle("linux", 1).await;
        self.0.docker_kill(&idle[0]).await;
        until("another runner idles in its place", async || {
            let now = self.0.idle("linux", 1).await;
            (now[0].runner != idle[0].runner).then_some(())
        })
        .await;
    }

    fn warnings(&self) -> usize {
        self.0.logged(&["\"level\":\"WARN\""]).len()
    }
}

#[tokio::test]
async fn a_clock_set_back_or_forward_holds_nothing_up() {
    let Some(library) = library() else { return };
    let mut world = World::new().await;
    world.configure(&[&pool("linux", "acme")]);
    let mut clock = Clock(&mut world);
    clock.start(library, "+0").await;
    clock.replaced().await;
    for offset in ["-60m", "+3h"] {
        clock.set(offset);
        clock.replaced().await;
    }
    // One for each runner that was killed.
    assert!(clock.warnings() <= 2 * 3, "{:#?}", clock.0.logged(&["\"level\":\"WARN\""]));
}

#[tokio::test]
async fn a_limit_lasts_as_long_as_github_says_whatever_the_clock_shows() {
    let Some(library) = library() else { return };
    let mut world = World::new().await;
    world.configure(&[&pool("linux", "acme")]);
    let mut clock = Clock(&mut world);
    for offset in ["+5", "-3h"] {
        clock.start(library, offset).await;
        clock.0.idle("linux", 1).await;
        clock.set("+0");
        let (before, minted) = (clock.warnings(), clock.0.asked(Endpoint::Mint, "acme"));
        let limit = Fault::new(FaultKind::PrimaryLimit(Duration::from_secs(4)));
        clock.0.github.fault(limit.on(Endpoint::Mint).times(1));
        clock.replaced().await;
        let mints = clock.0.asked(Endpoint::Mint, "acme") - minted;
        assert!((2..=4).contains(&mints), "{mints} mints after a clock that was set from {offset}");
        let warned = clock.warnings() - before;
        assert!(warned <= 8, "{warned} warnings: {:#?}", clock.0.logged(&["\"level\":\"WARN\""]));
        clock.0.kill();
    }
}

#[tokio::test]
async fn a_job_is_as_old_as_github_says_whatever_the_clock_shows() {
    let Some(library) = library() else { return };
    let mut world = World::new().await;
    world.github.push("acme/widgets", false);
    let pool = pool("linux", "acme").sized(0, 1).policy("demand = [\"queue\"]");
    world.configure(&[&pool]);
    let mut clock = Clock(&mut world);
    for (offset, served) in [("+26h", 1), ("-26h", 2)] {
        clock.start(library, offset).await;
        clock.0.github.enqueue(pool.job().of("acme/widgets"));
        clock.0.github_until("the job is served", |now| now.completed() == served).await;
        clock.0.kill();
    }
}

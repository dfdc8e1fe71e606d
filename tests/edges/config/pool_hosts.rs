//! Pools over several hosts, and their shares.

use dayfly::fleet::{HostName, Placement};

use super::{SOUND, Written, pool, pool_warnings};

const HOSTS: &str =
    "[hosts.a]\nendpoint = \"unix:///run/a.sock\"\n[hosts.b]\nendpoint = \"unix:///run/b.sock\"\n";

#[test]
fn a_pool_can_have_one_host_or_several_in_its_own_order() {
    for (written, hosts) in [
        ("host = \"b\"", &["b"][..]),
        ("host = [\"b\"]", &["b"]),
        ("host = [\"b\", \"a\"]", &["b", "a"]),
        ("host = [\"a\", \"local\"]", &["a", "local"]),
    ] {
        let config = Written::new(format!("{SOUND}{written}\n{HOSTS}")).load();
        let names: Vec<&str> = config.pools[0].pool.hosts.iter().map(HostName::as_str).collect();
        assert_eq!(names, hosts, "{written}");
        let images: Vec<&str> = config.images().keys().map(|(host, _)| host.as_str()).collect();
        assert_eq!(images.len(), hosts.len(), "each has its image: {images:?}");
    }
    let config =
        Written::new(format!("{SOUND}host = [\"a\", \"b\"]\nplacement = \"pack\"\nweight = 3\n{HOSTS}"));
    let pool = config.load().pools.remove(0).pool;
    assert_eq!((pool.placement, pool.policy.weight), (Placement::Pack, 3));
}

#[test]
fn hosts_that_cannot_be_are_reported() {
    let refused = |written: &str| Written::new(format!("{SOUND}{written}\n{HOSTS}")).problems();
    for (written, text) in [
        ("host = [\"a\", \"c\"]", "there is no [hosts.c]; known names: a, b"),
        ("host = [\"a\", \"a\"]", "has \"a\" twice; remove one"),
        ("host = []", "must not be empty; leave it out for \"local\""),
        ("host = 7", "must be a name in quotes, or a list of names, not a whole number"),
        ("host = [7]", "must be a string in quotes, not a whole number"),
    ] {
        let problems = refused(written);
        let [problem] = &problems[..] else { panic!("{written}: {problems:?}") };
        assert!(problem.contains("pool \"linux\": host") && problem.ends_with(text), "{problem}");
    }
}

#[test]
fn placement_and_weight_have_their_bounds() {
    for (written, text) in [
        ("placement = \"random\"", "must be one of \"spread\", \"pack\", \"ordered\""),
        ("weight = 0", "must be from 1 to 1000; leave it out for equal shares"),
        ("weight = 1001", "must be from 1 to 1000; leave it out for equal shares"),
    ] {
        let problems = pool(written);
        assert!(problems.len() == 1 && problems[0].ends_with(text), "{written}: {problems:?}");
    }
    let warnings = pool_warnings("placement = \"pack\"");
    assert!(warnings[0].contains("placement: has no effect: the pool has one host"), "{warnings:?}");
    assert!(pool_warnings("placement = \"spread\"").is_empty());
}

#[test]
fn what_one_of_its_hosts_could_never_run_is_reported() {
    let hosts = "[hosts.a]\nmemory = \"64GiB\"\n[hosts.b]\nmemory = \"4GiB\"\n";
    let text = format!("{SOUND}host = [\"a\", \"b\"]\n[pool.container]\nmemory = \"8GiB\"\n{hosts}");
    let problems = Written::new(text).problems();
    assert!(
        problems.len() == 1 && problems[0].contains("host \"b\", so no runner could ever start"),
        "{problems:?}"
    );
}

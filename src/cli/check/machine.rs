//! Checks the machine that `check` runs on: the state directory and the address to listen on. Creates
//! nothing: the kernel is asked whether it would be allowed.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::Arc,
};

use rustix::fs::{Access, access};

use super::report::Line;
use crate::{
    cli::status::daemon,
    config::Config,
    fleet::{Network, Template},
};

pub(super) async fn inspect(config: Arc<Config>) -> Vec<Line> {
    let mut lines = vec![state_dir(&config.state_dir), listen(&config, config.listen).await];
    lines.extend(reached_by_jobs(&config));
    lines
}

/// Whether jobs can reach the daemon: at an address of this machine's, from any network with a way out.
fn reached_by_jobs(config: &Config) -> Option<Line> {
    let listen = config.listen;
    let can_reach = |template: &Template| {
        template.egress.is_none() && template.network != Network::Named("none".to_owned())
    };
    let pools = config.pools.iter().map(|pool| &pool.pool).filter(|pool| can_reach(&pool.template));
    let pools: Vec<_> = pools.map(|pool| format!("{:?}", pool.name.as_str())).collect();
    (!listen.ip().is_loopback() && !pools.is_empty()).then(|| {
        Line::warn(
            "http.listen",
            format_args!(
                "jobs may reach {listen}, which has no password: those of pools without egress: {}",
                pools.join(", ")
            ),
            "listen on 127.0.0.1, or restrict what they reach with [pool.container.egress]",
        )
    })
}

fn state_dir(path: &Path) -> Line {
    let subject = "state directory";
    let shown = path.display();
    let hint = format!(
        "as the user that runs dayfly: sudo install -d -m 0700 -o \"$(id -un)\" {shown}\nor set state_dir \
         to a directory that this user can write"
    );
    let there =
        path.ancestors().find(|ancestor| ancestor.symlink_metadata().is_ok()).unwrap_or(Path::new("/"));
    if !there.is_dir() {
        let hint = "move it away, or set state_dir to another directory";
        return Line::fail(subject, format_args!("{} is not a directory", there.display()), hint);
    }
    match access(there, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) if there == path => Line::ok(subject, format_args!("{shown} is writable")),
        Ok(()) => Line::ok(subject, format_args!("{shown} does not exist yet and can be created")),
        Err(error) => {
            Line::fail(subject, format_args!("this user cannot write to {}: {error}", there.display()), hint)
        }
    }
}

async fn listen(config: &Config, address: SocketAddr) -> Line {
    let subject = "http.listen";
    // Released at once.
    let Err(error) = TcpListener::bind(address) else {
        return Line::ok(subject, format_args!("{address} is free"));
    };
    let hint = "set listen in [http] to another address";
    if error.kind() != ErrorKind::AddrInUse {
        return Line::fail(subject, format_args!("cannot listen on {address}: {error}"), hint);
    }
    match daemon::instance(address).await {
        Some(instance) if instance == config.instance.as_str() => {
            Line::ok(subject, format_args!("the daemon of this instance answers at {address}"))
        }
        Some(instance) => {
            let instance = instance.escape_debug();
            Line::fail(
                subject,
                format_args!("{address} is in use by the daemon of instance {instance}"),
                hint,
            )
        }
        None => Line::fail(subject, format_args!("{address} is in use by another program"), hint),
    }
}

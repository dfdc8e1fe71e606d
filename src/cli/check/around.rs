//! What `check` says of the machine that it runs on: the state directory and the address to listen
//! on. Nothing is made; whether something could be is asked of the kernel.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpListener},
    path::Path,
    sync::Arc,
};

use rustix::fs::{Access, access};

use crate::{
    cli::{lines::Line, status::daemon},
    config::Config,
};

pub(super) async fn look(config: Arc<Config>) -> Vec<Line> {
    vec![state_dir(&config.state_dir), listen(&config, config.listen).await]
}

fn state_dir(path: &Path) -> Line {
    let subject = "state directory";
    let shown = path.display();
    let mend = format!(
        "as the user that runs dayfly: sudo install -d -m 0700 -o \"$(id -un)\" {shown}\nor set state_dir to a directory \
         of that user's"
    );
    let there =
        path.ancestors().find(|ancestor| ancestor.symlink_metadata().is_ok()).unwrap_or(Path::new("/"));
    if !there.is_dir() {
        let mend = "move it away, or set state_dir to another directory";
        return Line::fail(subject, format_args!("{} is not a directory", there.display()), mend);
    }
    match access(there, Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) if there == path => Line::ok(subject, format_args!("{shown} can be written")),
        Ok(()) => Line::ok(subject, format_args!("{shown} is not there yet and can be made")),
        Err(error) => {
            Line::fail(subject, format_args!("this user cannot write {}: {error}", there.display()), mend)
        }
    }
}

async fn listen(config: &Config, address: SocketAddr) -> Line {
    let subject = "http.listen";
    // Let go of at once.
    let Err(error) = TcpListener::bind(address) else {
        return Line::ok(subject, format_args!("{address} is free"));
    };
    let mend = "choose another address with listen in [http]";
    if error.kind() != ErrorKind::AddrInUse {
        return Line::fail(subject, format_args!("{address} cannot be listened on: {error}"), mend);
    }
    match daemon::instance(address).await {
        Some(instance) if instance == config.instance.as_str() => {
            Line::ok(subject, format_args!("the daemon of this instance answers at {address}"))
        }
        Some(instance) => {
            let instance = instance.escape_debug();
            Line::fail(subject, format_args!("{address} is taken by the daemon of instance {instance}"), mend)
        }
        None => Line::fail(subject, format_args!("{address} is taken by something else"), mend),
    }
}

//! A command in a running container.

use bollard::{Docker, errors::Error, exec::StartExecResults, models::ExecConfig};
use futures_util::StreamExt;

/// The longest output that is kept, in bytes.
const OUTPUT: usize = 4096;

/// Runs it to its end, and returns its exit code and the beginning of its output.
pub(super) async fn run(
    docker: Docker,
    container: String,
    config: ExecConfig,
) -> Result<(i64, String), Error> {
    let id = docker.create_exec(&container, config).await?.id;
    let mut said = String::new();
    if let StartExecResults::Attached { mut output, .. } = docker.start_exec(&id, None).await? {
        while let Some(part) = output.next().await {
            if said.len() < OUTPUT {
                said.push_str(&String::from_utf8_lossy(part?.as_ref()));
            }
        }
    }
    let exit_code = docker.inspect_exec(&id).await?.exit_code;
    Ok((exit_code.unwrap_or(-1), said))
}

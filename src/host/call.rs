//! The requests to an engine that metrics and logs distinguish.

use std::fmt;

/// The kinds of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Connect,
    Ping,
    Version,
    Info,
    Events,
    List,
    Create,
    Start,
    Inspect,
    Logs,
    Top,
    Stop,
    Remove,
    InspectImage,
    RemoveImage,
    Pull,
    CreateNetwork,
    ConnectNetwork,
    ListNetworks,
    InspectNetwork,
    RemoveNetwork,
    CreateVolume,
    ListVolumes,
    RemoveVolume,
    Exec,
    Wait,
    Attach,
    RemoveLeftover,
    Upload,
    Import,
}

impl Call {
    /// The call as a metric's label.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Ping => "ping",
            Self::Version => "version",
            Self::Info => "info",
            Self::Events => "events",
            Self::List => "list",
            Self::Create => "create",
            Self::Start => "start",
            Self::Inspect => "inspect",
            Self::Logs => "logs",
            Self::Top => "top",
            Self::Stop => "stop",
            Self::Remove => "remove",
            Self::InspectImage => "inspect_image",
            Self::RemoveImage => "remove_image",
            Self::Pull => "pull",
            Self::CreateNetwork => "create_network",
            Self::ConnectNetwork => "connect_network",
            Self::ListNetworks => "list_networks",
            Self::InspectNetwork => "inspect_network",
            Self::RemoveNetwork => "remove_network",
            Self::CreateVolume => "create_volume",
            Self::ListVolumes => "list_volumes",
            Self::RemoveVolume => "remove_volume",
            Self::Exec => "exec",
            Self::Wait => "wait",
            Self::Attach => "attach",
            Self::RemoveLeftover => "remove_leftover",
            Self::Upload => "upload",
            Self::Import => "import",
        }
    }
}

impl fmt::Display for Call {
    /// The call's name in Docker's API reference.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connect",
            Self::Ping => "ping the engine",
            Self::Version => "get version",
            Self::Info => "get system information",
            Self::Events => "monitor events",
            Self::List => "list containers",
            Self::Create => "create container",
            Self::Start => "start container",
            Self::Inspect => "inspect container",
            Self::Logs => "get container logs",
            Self::Top => "list processes",
            Self::Stop => "stop container",
            Self::Remove => "remove container",
            Self::InspectImage => "inspect image",
            Self::RemoveImage => "remove image",
            Self::Pull => "pull image",
            Self::CreateNetwork => "create network",
            Self::ConnectNetwork => "connect to network",
            Self::ListNetworks => "list networks",
            Self::InspectNetwork => "inspect network",
            Self::RemoveNetwork => "remove network",
            Self::CreateVolume => "create volume",
            Self::ListVolumes => "list volumes",
            Self::RemoveVolume => "remove volume",
            Self::Exec => "run a command in a container",
            Self::Wait => "wait for container",
            Self::Attach => "run a container",
            Self::RemoveLeftover => "remove what a job left",
            Self::Upload => "upload files to container",
            Self::Import => "import image",
        })
    }
}

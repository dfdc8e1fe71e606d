//! The edge to container engines: launches, checks, stops and removes containers.

mod address;
mod any;
mod attachments;
mod bases;
mod call;
mod connect;
mod container;
mod credential_helper;
mod devices;
mod disk;
mod docker;
mod egress_image;
mod engine;
mod environment;
mod hooks;
mod image;
mod inspect;
mod launch;
mod lenient;
mod log;
mod log_stream;
mod memory;
mod network;
mod network_access;
pub mod own_image;
mod pull;
mod reach;
mod read_only_root;
mod registry;
mod ssh;
mod swarm;
mod template_files;
mod watch;

pub use crate::executor::{Host, HostError, LaunchError, LaunchOf, Listed, Preparation};

pub use self::{
    any::AnyEngine,
    attachments::{LABEL_ATTACHMENT, Prepared},
    connect::{Endpoint, EndpointError, usual_sockets},
    container::{
        LABEL_DEVICES, LABEL_IMAGE, LABEL_INSTANCE, LABEL_POOL, LABEL_REGISTRATION, LABEL_RUNNER,
        LABEL_SCOPE, LABEL_TEMPLATE,
    },
    disk::disk_is_low,
    docker::{Docker, Facts, Product},
    engine::{Deadlines, Reporter, RequestReport},
    environment::{UNPREFIXED, is_of_dayfly},
    image::ImageFacts,
    log::said,
    network::NetworkFacts,
    registry::{RegistryLogin, is_same_registry},
    ssh::{SshTarget, SshTargetError},
    swarm::{LABEL_DRAIN, Swarm},
    template_files::{TemplateFileError, TemplateFiles},
    watch::Happened,
};

/// Log directives that no filter lifts: bollard prints whole request bodies at DEBUG, including the JIT
/// config and the template's environment.
pub const LOG_CAPS: &[&str] = &["bollard=info"];

/// Everything that a container is created from.
pub type Launch<'a> = crate::executor::Launch<'a, TemplateFiles, Prepared>;

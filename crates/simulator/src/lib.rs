//! A GitHub that fits in a process, and the runners to go with it: what tests, benchmarks and `dayfly demo`
//! share. It only communicates over the network and knows nothing of the daemon.
//!
//! [`Simulator::start`] serves the runner API of repositories, organizations and enterprises on
//! a loopback address, with and without `/api/v3`, and a queue of jobs. The simulated runner ([`runner`])
//! takes its JIT config as the real one does, connects, and serves one job. [`image`] says
//! what its container image is called.

mod apps;
mod broker;
mod endpoint;
mod faults;
mod github;
mod hooks;
pub mod image;
mod jit;
mod job;
mod random;
pub mod runner;
mod scale_sets;
mod scope_path;
mod server;
mod settings;
mod shared;
mod simulator;
mod wire;
mod world;

pub use self::{
    apps::{App, Installation},
    endpoint::Endpoint,
    faults::{Fault, FaultKind},
    github::log::Request,
    hooks::{DeliveryView, Hook, HookFaults},
    job::{Behaviour, Hold, Job},
    scale_sets::{
        ScaleSetKnobs,
        request::{ScaleSetFault, ScaleSetRequest, ScaleSetRoute},
        rules::ScaleSetRules,
        view::ScaleSetView,
    },
    settings::{EndOfLife, GroupPolicy, Presence, Settings},
    simulator::Simulator,
    world::{
        job_record::{Conclusion, JobState, JobView},
        snapshot::{RunnerView, Snapshot, Waits},
    },
};

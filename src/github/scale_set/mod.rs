//! Runner scale sets: GitHub assigns jobs to a named set and tells over a message queue how many
//! runners it wants. The service is not described by GitHub but by its own client, actions/scaleset;
//! its state, labels and message queue are three servers with three kinds of tokens.
//!
//! [`ScaleSets`] is the service as one scope's credential reaches it; [`ScaleSetRunners`] is
//! [`RunnerApi`](super::RunnerApi) for the pool that is served by one set. Nothing here repeats a
//! request but a registration that GitHub's own servers do not all know yet, and a request whose
//! token was refused; all else is the caller's to repeat. A registration that failed is not tried
//! again at once, however often it is asked for.

mod address;
mod exchange;
mod list_cache;
mod message_queue;
mod messages;
mod problem;
mod registration;
mod registrations;
mod runners;
mod service;
mod session;
mod sets;

pub use self::{
    messages::{Job, JobMessage, Message},
    problem::ScaleSetError,
    registrations::Waits,
    runners::ScaleSetRunners,
    service::ScaleSets,
    session::{Session, SessionId},
    sets::{Ensured, ScaleSet, ScaleSetId},
};

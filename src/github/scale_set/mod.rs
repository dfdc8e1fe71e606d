//! Runner scale sets: GitHub assigns jobs to a named set and sends the number of runners that it needs over a
//! message queue. The service is not documented by GitHub except by its own client, actions/scaleset; its
//! state, labels and message queue are three servers with three kinds of tokens.
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

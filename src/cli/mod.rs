//! The command line: commands, and the file that implements each.

mod api_target;
mod arguments;
mod check;
mod connect;
mod demo;
mod downloads;
mod egress_proxy;
mod explain;
mod groups;
mod jit;
mod labels;
mod nodes;
mod purge;
mod run;
mod runner_api;
mod runners;
mod ssh_forward;
mod status;
mod terminal;
mod token;

use std::{io::Write, process::ExitCode};

pub use self::{
    arguments::{
        Check, Cli, Command, Connect, Demo, DemoSource, EgressProxy, Explain, Global, LogFormat, Nodes,
        NodesDrain, NodesList, NodesResume, Purge, Run, SimulatedRunner, SshForward, Status,
    },
    runner_api::{
        Downloads, Groups, GroupsList, Jit, Labels, LabelsGiven, LabelsList, LabelsRemove, Runners,
        RunnersGet, RunnersList, RunnersRemove, Token, TokenOf, Which,
    },
};

impl Cli {
    /// Runs the command. A failure is reported in one line on standard error.
    pub fn carry_out(self) -> ExitCode {
        let Self { global, command } = self;
        let outcome = match command {
            Command::Run(run) => run::run(&global, &run),
            Command::Demo(demo) => demo::run(&global, &demo),
            Command::Check(check) => check::run(&global, &check),
            Command::Status(status) => status::run(&global, &status),
            Command::Explain(explain) => explain::run(&global, &explain),
            Command::Runners(runners) => runners::run(&global, &runners),
            Command::Labels(labels) => labels::run(&global, &labels),
            Command::Token(token) => token::run(&global, &token),
            Command::Downloads(downloads) => downloads::run(&global, &downloads),
            Command::Groups(groups) => groups::run(&global, &groups),
            Command::Jit(jit) => jit::run(&global, &jit),
            Command::Nodes(nodes) => nodes::run(&global, &nodes),
            Command::Purge(purge) => purge::run(&global, &purge),
            Command::EgressProxy(proxy) => egress_proxy::run(&global, &proxy),
            Command::SshForward(forward) => ssh_forward::run(&forward),
            Command::Connect(connect) => connect::run(&connect),
            Command::SimulatedRunner(_) => Ok(crate::simulator::runner::run()),
        };
        outcome.unwrap_or_else(|error| {
            // There is no one to read it when standard error is closed.
            let message = crate::telemetry::error_message(&format!("dayfly: {error:#}"));
            let _ = std::io::stderr().write_all(message.as_bytes());
            ExitCode::from(2)
        })
    }
}

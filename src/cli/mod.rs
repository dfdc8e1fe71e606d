//! The command line: runs each command in the file that implements it.

mod api_target;
mod check;
mod demo;
mod downloads;
mod explain;
mod groups;
mod jit;
mod labels;
mod options;
mod purge;
mod run;
mod runner_api;
mod runners;
mod status;
mod terminal;
mod token;

use std::{io::Write, process::ExitCode};

pub use self::options::{
    Check, Cli, Command, Demo, DemoSource, Explain, Global, LogFormat, Purge, Run, SimulatedRunner, Status,
};
pub use self::runner_api::{
    Downloads, Groups, GroupsList, Jit, Labels, LabelsGiven, LabelsList, LabelsRemove, Runners, RunnersGet,
    RunnersList, RunnersRemove, Token, TokenOf, Which,
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
            Command::Purge(purge) => purge::run(&global, &purge),
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

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_lists_every_command_with_a_line_each_and_hides_the_internal_one() {
        let help = Cli::command().render_help().to_string();
        let listed: Vec<_> = help
            .lines()
            .skip_while(|line| !line.starts_with("Commands:"))
            .skip(1)
            .take_while(|line| !line.is_empty())
            .map(|line| line.split_whitespace().next().unwrap_or_default())
            .collect();
        assert_eq!(
            listed,
            [
                "run",
                "check",
                "demo",
                "status",
                "explain",
                "runners",
                "labels",
                "token",
                "downloads",
                "groups",
                "jit",
                "purge",
                "help"
            ],
            "{help}"
        );
        assert!(!help.contains("simulated-runner"), "{help}");
    }

    #[test]
    fn help_has_examples_and_global_options_under_their_own_heading() {
        let help = Cli::command().render_help().to_string();
        assert!(help.contains("\nExamples:\n  dayfly demo"), "{help}");
        for command in ["run", "check", "purge"] {
            let mut cli = Cli::command();
            cli.build();
            let help = cli.find_subcommand_mut(command).unwrap().render_help().to_string();
            let (own, global) = help.split_once("\nGlobal options:\n").unwrap();
            assert!(global.contains("--config") && !own.contains("--config"), "{help}");
            assert!(own.contains("--help") && !global.contains("--help"), "{help}");
        }
    }

    #[test]
    fn every_argument_of_every_command_says_what_it_is_for() {
        fn walk(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{} has no help", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&Cli::command());
    }

    #[test]
    fn the_options_are_read() {
        let cli = Cli::try_parse_from([
            "dayfly", "runners", "remove", "23", "--pool", "linux", "--yes", "--config", "x.toml", "-q", "-q",
        ])
        .unwrap();
        assert_eq!(cli.global.config, Some("x.toml".into()));
        assert_eq!(cli.global.log_filter(), Some("error"));
        let Command::Runners(Runners::Remove(remove)) = cli.command else { panic!("{cli:?}") };
        assert_eq!(
            (remove.runners, remove.which.pool, remove.yes),
            (vec!["23".to_owned()], Some("linux".to_owned()), true)
        );
        for wrong in [
            &["dayfly", "demo", "--rate", "-1"][..],
            &["dayfly", "demo", "--jobs", "0"],
            &["dayfly", "runners", "list", "--pool", "a", "--url", "https://github.com/a"],
            &["dayfly", "run", "-v", "-q"],
            &["dayfly", "remove"],
            &["dayfly", "labels", "remove", "23"],
            &["dayfly", "labels", "remove", "23", "gpu", "--all"],
            &["dayfly", "labels", "set", "23"],
            &["dayfly", "jit", "--name", "a"],
            &["dayfly", "groups", "list", "--pool", "a", "--credentials", "b"],
        ] {
            assert!(Cli::try_parse_from(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_level_can_be_asked_for_in_three_ways() {
        let filter = |args: &[&str]| {
            let cli = Cli::try_parse_from(["dayfly", "run"].iter().chain(args)).unwrap();
            cli.global.log_filter().map(str::to_owned)
        };
        assert_eq!(filter(&["--log", "octocrab=warn"]).as_deref(), Some("octocrab=warn"));
        assert_eq!(filter(&["-v"]).as_deref(), Some("dayfly=debug,info"));
        assert_eq!(filter(&["-q"]).as_deref(), Some("warn"));
    }
}

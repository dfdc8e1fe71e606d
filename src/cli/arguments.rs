//! The commands and their options.

use std::{net::SocketAddr, path::PathBuf};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use super::runner_api::{Downloads, Groups, Jit, Labels, Runners, Token};
use crate::egress::{Mode, Pattern};

/// Keeps pools of single-use GitHub Actions runners on ordinary Docker hosts.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "dayfly",
    version,
    arg_required_else_help = true,
    propagate_version = true,
    after_help = "\
Examples:
  dayfly demo                          Try it out, with nothing but Docker
  dayfly check --config dayfly.toml    Check everything before the first start
  dayfly run --config dayfly.toml      Run the daemon; Ctrl-C stops it, its runners stay
  dayfly status                        Show the pools and runners of the daemon
  dayfly explain https://github.com/acme/widgets/actions/runs/1/job/2
                                       Explain why a job is waiting"
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command takes.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Configuration file [default: $DAYFLY_CONFIG, else /etc/dayfly/dayfly.toml, else ./dayfly.toml]
    #[arg(long, global = true, value_name = "PATH")]
    pub config: Option<PathBuf>,
    /// Log format
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        env = "DAYFLY_LOG_FORMAT"
    )]
    pub log_format: LogFormat,
    /// Log level: off, error, warn, info, debug, trace, or a filter such as dayfly=debug [default: $RUST_LOG,
    /// else info]
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log: Option<String>,
    /// Log more: debug; given twice: trace
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with_all = ["quiet", "log"])]
    pub verbose: u8,
    /// Log less: warnings and errors; given twice: errors only
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "log")]
    pub quiet: u8,
}

impl Global {
    /// The log filter of the options; `None` without any, so that `$RUST_LOG` and the default apply.
    pub fn log_filter(&self) -> Option<&str> {
        match (&self.log, self.verbose, self.quiet) {
            (Some(filter), _, _) => Some(filter),
            (None, 0, 0) => None,
            (None, 1, _) => Some("dayfly=debug,info"),
            (None, 2.., _) => Some("dayfly=trace,debug"),
            (None, 0, 1) => Some("warn"),
            (None, 0, _) => Some("error"),
        }
    }
}

/// Log format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Text lines
    #[default]
    Text,
    /// One JSON object per line
    Json,
}

/// The command.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the daemon
    Run(Run),
    /// Check configuration, permissions, hosts and images; creates nothing
    ///
    /// Exit code: 0 if all checks passed, 1 with warnings, 2 with failures.
    Check(Check),
    /// Run the daemon against a simulated GitHub on the local Docker; needs no account
    Demo(Demo),
    /// Show what the running daemon is doing
    Status(Status),
    /// Explain why a job is or is not running
    ///
    /// Exit code: 0 if the job is running, has finished, or a pool serves it; 1 if no pool serves it; 2 if
    /// that cannot be determined.
    Explain(Explain),
    /// List, show and remove runners on GitHub
    #[command(subcommand)]
    Runners(Runners),
    /// List and change the labels of a runner
    #[command(subcommand)]
    Labels(Labels),
    /// Print a token for the runner's own config.sh
    #[command(subcommand)]
    Token(Token),
    /// List the runner software that GitHub offers, and its newest version
    Downloads(Downloads),
    /// List runner groups
    #[command(subcommand)]
    Groups(Groups),
    /// Mint one runner
    Jit(Jit),
    /// List, drain and resume the nodes of Docker Swarms
    #[command(subcommand)]
    Nodes(Nodes),
    /// Remove the pools' scale sets from GitHub, which stay there when the daemon stops
    ///
    /// Exit code: 0 if none is left, 1 if one could not be removed, 2 if nothing was attempted.
    Purge(Purge),
    /// Forward requests of a runner to allowed destinations; runs in a container beside the runner
    #[command(hide = true)]
    EgressProxy(EgressProxy),
    /// Try to connect to addresses; runs in a container for check --from-runners
    #[command(hide = true)]
    Connect(Connect),
    /// Hold the ssh that forwards an engine's socket, until standard input ends; the daemon starts it
    #[command(hide = true)]
    SshForward(SshForward),
    /// Act as a runner inside a container; for the demo and tests
    #[command(hide = true)]
    SimulatedRunner(SimulatedRunner),
}

/// Options of `run`.
#[derive(Args, Clone, Debug)]
pub struct Run {
    /// Exit when the parent process, which has this id, exits; for the demo
    #[arg(long, hide = true, value_name = "PID")]
    pub parent: Option<u32>,
}

/// Options of `check`.
#[derive(Args, Clone, Debug)]
pub struct Check {
    /// Also start a short container in each pool's network, to check that registry mirrors, cache servers and proxies
    /// can be reached from there
    #[arg(long)]
    pub from_runners: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `demo`.
#[derive(Args, Clone, Debug)]
pub struct Demo {
    /// Number of jobs
    #[arg(long, default_value_t = 40, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub jobs: u32,
    /// Jobs that arrive per second, on average
    #[arg(long, default_value_t = 2.0, value_name = "N", value_parser = positive)]
    pub rate: f64,
    /// Maximum number of runners
    #[arg(long, default_value_t = 16, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub max: u32,
    /// Runners kept idle on top of the busy ones
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub min_idle: u32,
    /// Average duration of a job, in seconds
    #[arg(long, default_value_t = 4.0, value_name = "SECONDS", value_parser = positive)]
    pub job_seconds: f64,
    /// Job sources, separated by commas
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_values_t = [DemoSource::Queue, DemoSource::Webhook],
        value_name = "SOURCE"
    )]
    pub demand: Vec<DemoSource>,
    /// Seed of the random numbers: the same seed makes the same jobs [default: random]
    #[arg(long, value_name = "SEED")]
    pub seed: Option<u64>,
    /// Address of the daemon's web server; with port 0, any free port
    #[arg(long, default_value = "127.0.0.1:0", value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
}

/// A job source of the demo's pool, as in its `demand`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DemoSource {
    /// Keep runners idle, and replace those that take a job
    Idle,
    /// Poll for queued jobs
    Queue,
    /// Receive webhooks
    Webhook,
    /// Use a runner scale set; cannot be combined
    ScaleSet,
}

impl DemoSource {
    /// Its name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Queue => "queue",
            Self::Webhook => "webhook",
            Self::ScaleSet => "scale-set",
        }
    }
}

/// Options of `status`.
#[derive(Args, Clone, Debug)]
pub struct Status {
    /// Show only the most recent runner failures, with their reasons
    #[arg(long)]
    pub failed: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Commands of `nodes`.
#[derive(Clone, Debug, Subcommand)]
pub enum Nodes {
    /// List the nodes
    List(NodesList),
    /// Drain a node without stopping a job
    ///
    /// Pauses the node, so that it gets no new tasks. The daemon removes its idle runners, waits until its busy ones have
    /// ended, and then drains it, which moves all other services away. All of that goes on when this command ends.
    Drain(NodesDrain),
    /// Make a node active again, or take a drain back
    Resume(NodesResume),
}

/// Options of `nodes list`.
#[derive(Args, Clone, Debug)]
pub struct NodesList {
    /// Only those of this host
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `nodes drain`.
#[derive(Args, Clone, Debug)]
pub struct NodesDrain {
    /// Name or id of the node
    #[arg(value_name = "NODE")]
    pub node: String,
    /// Its host, where several have a node of that name
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
    /// Wait until it is drained
    #[arg(long)]
    pub wait: bool,
}

/// Options of `nodes resume`.
#[derive(Args, Clone, Debug)]
pub struct NodesResume {
    /// Name or id of the node
    #[arg(value_name = "NODE")]
    pub node: String,
    /// Its host, where several have a node of that name
    #[arg(long, value_name = "HOST")]
    pub host: Option<String>,
}

/// Options of `purge`.
#[derive(Args, Clone, Debug)]
pub struct Purge {
    /// Remove only the scale sets of these pools
    #[arg(value_name = "POOL")]
    pub pools: Vec<String>,
    /// Do not ask for confirmation
    #[arg(long, short)]
    pub yes: bool,
}

/// Options of `explain`.
#[derive(Args, Clone, Debug)]
pub struct Explain {
    /// Address of the job's page: `https://HOST/OWNER/REPOSITORY/actions/runs/RUN/job/JOB`
    #[arg(value_name = "JOB_URL")]
    pub job: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `egress-proxy`.
#[derive(Args, Clone, Debug)]
pub struct EgressProxy {
    /// Address to listen on
    #[arg(long, default_value = "0.0.0.0:3128", value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,
    /// What happens to destinations that are not allowed: audit reports them, enforce refuses them
    #[arg(long, value_name = "MODE")]
    pub mode: Mode,
    /// Allowed destination: a host name, *.NAME or an IP address, with a port or for 443 and 80; can be repeated
    #[arg(long, value_name = "PATTERN")]
    pub allow: Vec<Pattern>,
}

/// Options of `connect`.
#[derive(Args, Clone, Debug)]
pub struct Connect {
    /// Where to connect to
    #[arg(value_name = "HOST:PORT")]
    pub addresses: Vec<String>,
}

/// Options of `ssh-forward`.
#[derive(Args, Clone, Debug)]
pub struct SshForward {
    /// Socket to make, in a folder of its own, which is removed at the end
    #[arg(value_name = "PATH")]
    pub socket: PathBuf,
    /// Socket on the other machine
    #[arg(value_name = "PATH")]
    pub remote: PathBuf,
    /// Where ssh logs in, as its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    pub login: Vec<String>,
}

/// Options of `simulated-runner`, which parses them itself, as the real runner's script does.
#[derive(Args, Clone, Debug)]
pub struct SimulatedRunner {
    /// The real runner's options.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    pub arguments: Vec<String>,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number > 0.0 && number <= 100_000.0 => Ok(number),
        _ => Err("must be a number above 0, at most 100000".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_lists_every_command_with_a_line_each_and_hides_the_internal_ones() {
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
                "nodes",
                "purge",
                "help"
            ],
            "{help}"
        );
        assert!(
            !help.contains("simulated-runner")
                && !help.contains("egress-proxy")
                && !help.contains("  connect"),
            "{help}"
        );
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

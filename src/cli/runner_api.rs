//! The arguments of the commands that call GitHub's runner API: `runners`, `labels`, `token`, `downloads`,
//! `groups` and `jit`.

use clap::{ArgGroup, Args, Subcommand};

/// The scope that a command talks to, and the credential for it. The default is those of the only pool.
#[derive(Args, Clone, Debug)]
pub struct Which {
    /// Use the scope of this pool
    #[arg(long, value_name = "POOL", conflicts_with = "url")]
    pub pool: Option<String>,
    /// Use this repository, organization or enterprise (…/enterprises/NAME); works without a configuration
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// Use this credential of the configuration [default: that of the pools with this URL, else
    /// $GITHUB_TOKEN, or $GH_ENTERPRISE_TOKEN for servers other than github.com and GHE.com]
    #[arg(long, value_name = "NAME", conflicts_with = "pool")]
    pub credentials: Option<String>,
}

/// The subcommands of `runners`.
#[derive(Clone, Debug, Subcommand)]
pub enum Runners {
    /// List the runners of a scope
    List(RunnersList),
    /// Show one runner
    Get(RunnersGet),
    /// Remove runners from GitHub; a runner that has a job is not removed
    Remove(RunnersRemove),
}

/// Options of `runners list`.
#[derive(Args, Clone, Debug)]
pub struct RunnersList {
    /// Show only runners whose name contains this text, in any letter case
    #[arg(long, value_name = "TEXT")]
    pub name: Option<String>,
    #[command(flatten)]
    pub which: Which,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `runners get`.
#[derive(Args, Clone, Debug)]
pub struct RunnersGet {
    /// Runner ID on GitHub, or runner name
    #[arg(value_name = "RUNNER")]
    pub runner: String,
    #[command(flatten)]
    pub which: Which,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `runners remove`.
#[derive(Args, Clone, Debug)]
pub struct RunnersRemove {
    /// Runner IDs on GitHub, or runner names
    #[arg(required = true, value_name = "RUNNER")]
    pub runners: Vec<String>,
    #[command(flatten)]
    pub which: Which,
    /// Do not ask for confirmation
    #[arg(long, short)]
    pub yes: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The subcommands of `labels`.
#[derive(Clone, Debug, Subcommand)]
pub enum Labels {
    /// List the labels of a runner
    List(LabelsList),
    /// Add custom labels to a runner
    Add(LabelsGiven),
    /// Replace all custom labels of a runner
    Set(LabelsGiven),
    /// Remove custom labels from a runner
    Remove(LabelsRemove),
}

/// Options of `labels list`.
#[derive(Args, Clone, Debug)]
pub struct LabelsList {
    /// Runner ID on GitHub, or runner name
    #[arg(value_name = "RUNNER")]
    pub runner: String,
    #[command(flatten)]
    pub which: Which,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `labels add` and `labels set`.
#[derive(Args, Clone, Debug)]
pub struct LabelsGiven {
    /// Runner ID on GitHub, or runner name
    #[arg(value_name = "RUNNER")]
    pub runner: String,
    /// The labels
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
    #[command(flatten)]
    pub which: Which,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `labels remove`.
#[derive(Args, Clone, Debug)]
#[command(
    group = ArgGroup::new("which labels").required(true).args(["names", "all"]),
    override_usage = "dayfly labels remove [OPTIONS] <RUNNER> <NAME>...\n       dayfly labels remove [OPTIONS] <RUNNER> --all"
)]
pub struct LabelsRemove {
    /// Runner ID on GitHub, or runner name
    #[arg(value_name = "RUNNER")]
    pub runner: String,
    /// The labels
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,
    /// Remove all custom labels
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub which: Which,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The subcommands of `token`.
#[derive(Clone, Debug, Subcommand)]
pub enum Token {
    /// Print a registration token for config.sh, valid for one hour
    Registration(TokenOf),
    /// Print a removal token for config.sh, valid for one hour
    Remove(TokenOf),
}

/// Options of `token registration` and `token remove`.
#[derive(Args, Clone, Debug)]
pub struct TokenOf {
    #[command(flatten)]
    pub which: Which,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `downloads`.
#[derive(Args, Clone, Debug)]
pub struct Downloads {
    #[command(flatten)]
    pub which: Which,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// The subcommands of `groups`.
#[derive(Clone, Debug, Subcommand)]
pub enum Groups {
    /// List the runner groups of an organization or an enterprise
    List(GroupsList),
}

/// Options of `groups list`.
#[derive(Args, Clone, Debug)]
pub struct GroupsList {
    #[command(flatten)]
    pub which: Which,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `jit`.
#[derive(Args, Clone, Debug)]
pub struct Jit {
    /// Name of the runner
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// Label of the runner; GitHub adds none by itself. Can be repeated
    #[arg(long = "label", required = true, value_name = "LABEL")]
    pub labels: Vec<String>,
    /// Runner group [default: the default group]
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,
    /// Print the JIT config: a secret with which one runner can connect once
    #[arg(long)]
    pub print_config: bool,
    #[command(flatten)]
    pub which: Which,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

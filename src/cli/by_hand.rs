//! What can be asked of GitHub's runner API by hand, in which words.

use clap::{Args, Subcommand};

/// Which scope is meant, and with which credential: the only pool's, unless these say.
#[derive(Args, Clone, Debug)]
pub struct Which {
    /// The scope of this pool
    #[arg(long, value_name = "POOL", conflicts_with = "url")]
    pub pool: Option<String>,
    /// This repository, organization or enterprise (…/enterprises/NAME); needs no
    /// configuration
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// This credential of the configuration [default: that of the pools there, else $GITHUB_TOKEN, for other servers than
    /// github.com and GHE.com $GH_ENTERPRISE_TOKEN]
    #[arg(long, value_name = "NAME", conflicts_with = "pool")]
    pub credentials: Option<String>,
}

/// What to do with runners.
#[derive(Clone, Debug, Subcommand)]
pub enum Runners {
    /// List the runners of a scope
    List(RunnersList),
    /// Show one runner
    Get(RunnersGet),
    /// Remove runners from GitHub; one that has a job is refused
    Remove(RunnersRemove),
}

/// Options of `runners list`.
#[derive(Args, Clone, Debug)]
pub struct RunnersList {
    /// Only runners whose name contains this, in any letter case
    #[arg(long, value_name = "TEXT")]
    pub name: Option<String>,
    /// Whose runners.
    #[command(flatten)]
    pub which: Which,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `runners get`.
#[derive(Args, Clone, Debug)]
pub struct RunnersGet {
    /// Its id at GitHub, or its name
    #[arg(value_name = "RUNNER")]
    pub runner: String,
    /// Whose runner.
    #[command(flatten)]
    pub which: Which,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `runners remove`.
#[derive(Args, Clone, Debug)]
pub struct RunnersRemove {
    /// Their ids at GitHub, or their names
    #[arg(required = true, value_name = "RUNNER")]
    pub runners: Vec<String>,
    /// Whose runners.
    #[command(flatten)]
    pub which: Which,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What to do with the labels of a runner.
#[derive(Clone, Debug, Subcommand)]
pub enum Labels {
    /// List the labels of a runner
    List(LabelsList),
    /// Add custom labels to a runner
    Add(LabelsGiven),
    /// Put these in place of all custom labels of a runner
    Set(LabelsGiven),
    /// Take custom labels off a runner
    Remove(LabelsRemove),
}

/// Options of `labels list`.
#[derive(Args, Clone, Debug)]
pub struct LabelsList {
    /// The runner's id at GitHub, or its name
    #[arg(value_name = "RUNNER")]
    pub runner: String,
    /// Whose runner.
    #[command(flatten)]
    pub which: Which,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `labels add` and `labels set`.
#[derive(Args, Clone, Debug)]
pub struct LabelsGiven {
    /// The runner's id at GitHub, or its name
    #[arg(value_name = "RUNNER")]
    pub runner: String,
    /// The labels
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
    /// Whose runner.
    #[command(flatten)]
    pub which: Which,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `labels remove`.
#[derive(Args, Clone, Debug)]
pub struct LabelsRemove {
    /// The runner's id at GitHub, or its name
    #[arg(value_name = "RUNNER")]
    pub runner: String,
    /// The labels
    #[arg(required_unless_present = "all", value_name = "NAME")]
    pub names: Vec<String>,
    /// All custom labels
    #[arg(long, conflicts_with = "names")]
    pub all: bool,
    /// Whose runner.
    #[command(flatten)]
    pub which: Which,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Which token is wanted.
#[derive(Clone, Debug, Subcommand)]
pub enum Token {
    /// Print a token that lets config.sh register runners, for an hour
    Registration(TokenOf),
    /// Print a token that lets config.sh remove runners, for an hour
    Remove(TokenOf),
}

/// Options of `token registration` and `token remove`.
#[derive(Args, Clone, Debug)]
pub struct TokenOf {
    /// For which scope.
    #[command(flatten)]
    pub which: Which,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `downloads`.
#[derive(Args, Clone, Debug)]
pub struct Downloads {
    /// For which scope.
    #[command(flatten)]
    pub which: Which,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What to do with runner groups.
#[derive(Clone, Debug, Subcommand)]
pub enum Groups {
    /// List the runner groups of an organization or an enterprise
    List(GroupsList),
}

/// Options of `groups list`.
#[derive(Args, Clone, Debug)]
pub struct GroupsList {
    /// Whose groups.
    #[command(flatten)]
    pub which: Which,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Options of `jit`.
#[derive(Args, Clone, Debug)]
pub struct Jit {
    /// What the runner is called
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// A label of it; GitHub adds none by itself. May be given several times
    #[arg(long = "label", required = true, value_name = "LABEL")]
    pub labels: Vec<String>,
    /// Its runner group [default: the default one]
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,
    /// Print the JIT config, a secret that lets one runner connect once
    #[arg(long)]
    pub print_config: bool,
    /// For which scope.
    #[command(flatten)]
    pub which: Which,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

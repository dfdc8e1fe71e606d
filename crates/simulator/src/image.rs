//! The image of simulated runners: its name, and what its containers run. It is made of the `dayfly` binary
//! alone.

/// Name of the image; its tag is that of the binary.
pub const REPOSITORY: &str = "dayfly-simulated-runner";

/// What a container of the image runs.
pub const COMMAND: [&str; 2] = ["/dayfly", "simulated-runner"];

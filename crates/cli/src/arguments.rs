//! What can be said on the command line.

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, Parser, Subcommand};

/// Tasks, actors and objects of Python programs, on one machine or many.
#[derive(Debug, Parser)]
#[command(name = "whipray", version, arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    #[command(hide = true)]
    Daemon(DaemonArguments),
    Start(Box<StartArguments>),
    Stop(StopArguments),
    Status(StatusArguments),
    HealthCheck(HealthCheckArguments),
    Explain(ExplainArguments),
    Memory(MemoryArguments),
    Timeline(TimelineArguments),
    /// List the things of one kind: actors, tasks, objects, nodes, workers, jobs, placement-groups,
    /// runtime-envs.
    List(StateArguments),
    /// Show one thing, with all that is known of it.
    Get(StateArguments),
    /// Count the things of one kind: actors, tasks, objects.
    Summary(StateArguments),
    /// Show the logs of nodes, actors, tasks and workers.
    Logs(StateArguments),
    Debug(DebugArguments),
    Microbenchmark(MicrobenchmarkArguments),
    DrainNode(DrainNodeArguments),
}

/// Run a daemon; started by `start` and by `init()`.
#[derive(Debug, Args)]
pub struct DaemonArguments {
    /// Readable at its end once whoever started the daemon is gone.
    #[arg(long)]
    pub lifeline_fd: Option<i32>,
    /// Where the line goes that says that the daemon is ready.
    #[arg(long)]
    pub ready_fd: Option<i32>,
    /// What the daemon is to be.
    #[arg(long, default_value = "{}")]
    pub options_json: String,
}

/// Start a cluster on this machine, or have this machine join one.
#[derive(Debug, Args)]
pub struct StartArguments {
    /// Start the head of a new cluster.
    #[arg(long)]
    pub head: bool,
    /// Join the cluster whose head is at this `host:port`.
    #[arg(long)]
    pub address: Option<String>,
    /// Where the head is found; 0 lets the system choose.
    #[arg(long, default_value_t = 6379)]
    pub port: u16,
    /// Where a node that joins is found by the others, which is its only port; 0 lets the system
    /// choose.
    #[arg(long, default_value_t = 0)]
    pub node_manager_port: u16,
    /// A file with the token of the cluster; a head makes one where it is not there. Otherwise the
    /// variables RAY_AUTH_TOKEN and RAY_AUTH_TOKEN_PATH, then ~/.ray/auth_token; a head makes a new
    /// token without these.
    #[arg(long)]
    pub token_file: Option<String>,
    /// The address of this machine; drivers of other machines can reach the cluster only if it is
    /// not a loopback address.
    #[arg(long)]
    pub node_ip_address: Option<String>,
    /// CPUs that tasks and actors may use; those of the machine otherwise.
    #[arg(long)]
    pub num_cpus: Option<u32>,
    /// GPUs that tasks and actors may use; those of the machine otherwise.
    #[arg(long)]
    pub num_gpus: Option<u32>,
    /// Memory that tasks and actors may ask for, in bytes.
    #[arg(long)]
    pub memory: Option<u64>,
    /// The size of the object store, in bytes.
    #[arg(long)]
    pub object_store_memory: Option<u64>,
    /// Custom resources as JSON, such as '{"gold": 2}'.
    #[arg(long, default_value = "{}")]
    pub resources: String,
    /// Labels of the node, such as 'zone=a,kind=large'.
    #[arg(long, default_value = "")]
    pub labels: String,
    /// Where the files of the session go.
    #[arg(long)]
    pub temp_dir: Option<String>,
    /// Where metrics are read in Prometheus' format; 0 lets the system choose, which it also does
    /// at the first metric of a program where this is not given.
    #[arg(long)]
    pub metrics_export_port: Option<u16>,
    /// Where objects go that the object store has no room for: a directory, or an address in a
    /// bucket such as s3://bucket/path; the folder of the sessions otherwise.
    #[arg(long)]
    pub object_spilling_directory: Option<String>,
    /// A file in the form of Ray's cluster launcher that says which nodes the head may start.
    #[arg(long)]
    pub autoscaling_config: Option<String>,
    /// Settings of the engine as JSON, by Ray's names.
    #[arg(long, default_value = "{}", hide = true)]
    pub system_config: String,
    /// Where a function is that sets up tracing in each process, as `module:function`.
    #[arg(long)]
    pub tracing_startup_hook: Option<String>,
    /// Stay in the foreground until the cluster ends.
    #[arg(long)]
    pub block: bool,
    #[command(flatten)]
    pub quiet: OutputArguments,
    #[command(flatten)]
    pub ignored: IgnoredStartOptions,
}

/// Stop the clusters of this user that `start` started on this machine.
#[derive(Debug, Args)]
pub struct StopArguments {
    /// End the processes at once, without giving them time to end in order.
    #[arg(short, long)]
    pub force: bool,
    /// How long processes may take to end in order, in seconds.
    #[arg(short, long, default_value_t = 16)]
    pub grace_period: u32,
    #[command(flatten)]
    pub quiet: OutputArguments,
}

/// Show the nodes of the cluster, what of them is in use, and what waits.
#[derive(Debug, Args)]
pub struct StatusArguments {
    /// `host:port` of the cluster; the one that `start` started on this machine otherwise.
    #[arg(long)]
    pub address: Option<String>,
    /// Show each node, and each actor.
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
}

/// Say by the exit code whether the cluster answers.
#[derive(Debug, Args)]
pub struct HealthCheckArguments {
    /// `host:port` of the cluster; the one that `start` started on this machine otherwise.
    #[arg(long)]
    pub address: Option<String>,
    /// One component of the cluster; there are none that could be asked by themselves.
    #[arg(long)]
    pub component: Option<String>,
    /// Without effect: a daemon of another version refuses the connection.
    #[arg(long)]
    pub skip_version_check: bool,
}

/// Say what an object, a task or an actor waits for, since when, and who decides.
#[derive(Debug, Args)]
pub struct ExplainArguments {
    /// The id in hexadecimal, as `ref.hex()` or a list shows it.
    pub id: String,
    /// `host:port` of the cluster; the one that `start` started on this machine otherwise, or that
    /// of a program that runs here.
    #[arg(long)]
    pub address: Option<String>,
}

/// Write a file that shows what has run where and when, for chrome://tracing and Perfetto.
#[derive(Debug, Args)]
pub struct TimelineArguments {
    /// `host:port` of the cluster; the one that `start` started on this machine otherwise, or that
    /// of a program that runs here.
    #[arg(long)]
    pub address: Option<String>,
}

/// Show which process holds which object, how large it is, and where it was made.
#[derive(Debug, Args)]
pub struct MemoryArguments {
    /// `host:port` of the cluster; the one that `start` started on this machine otherwise, or that
    /// of a program that runs here.
    #[arg(long)]
    pub address: Option<String>,
    #[arg(long, value_enum, ignore_case = true, default_value = "NODE_ADDRESS")]
    pub group_by: GroupBy,
    #[arg(long, value_enum, ignore_case = true, default_value = "OBJECT_SIZE")]
    pub sort_by: SortBy,
    #[arg(long, value_enum, ignore_case = true, default_value = "B")]
    pub units: Unit,
    /// Has no effect: the output is always plain lines.
    #[arg(long)]
    pub no_format: bool,
    /// Show the object store alone.
    #[arg(long)]
    pub stats_only: bool,
    /// References of each group that are shown.
    #[arg(long, visible_alias = "n")]
    pub num_entries: Option<usize>,
}

/// What references are brought together by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum GroupBy {
    #[value(name = "NODE_ADDRESS")]
    NodeAddress,
    #[value(name = "STACK_TRACE")]
    StackTrace,
}

/// What comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum SortBy {
    #[value(name = "PID")]
    Pid,
    #[value(name = "OBJECT_SIZE")]
    ObjectSize,
    #[value(name = "REFERENCE_TYPE")]
    ReferenceType,
}

/// In what sizes are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Unit {
    #[value(name = "B")]
    B,
    #[value(name = "KB")]
    KB,
    #[value(name = "MB")]
    MB,
    #[value(name = "GB")]
    GB,
}

/// Let a node finish what it has, give it nothing new, and take it out of the cluster.
#[derive(Debug, Args)]
pub struct DrainNodeArguments {
    /// `host:port` of the cluster; the one that `start` started on this machine otherwise, or that
    /// of a program that runs here.
    #[arg(long)]
    pub address: Option<String>,
    /// The node, by its id in hexadecimal; the one of this machine otherwise.
    #[arg(long)]
    pub node_id: Option<String>,
    /// Why: a node that has something to do is not drained because it is idle.
    #[arg(long, value_enum)]
    pub reason: DrainReasonName,
    /// What people read as the reason.
    #[arg(long)]
    pub reason_message: String,
    /// What still runs after so many seconds is ended; however long it takes otherwise.
    #[arg(long)]
    pub deadline_remaining_seconds: Option<u64>,
}

/// Why a node is drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum DrainReasonName {
    #[value(name = "DRAIN_NODE_REASON_IDLE_TERMINATION")]
    IdleTermination,
    #[value(name = "DRAIN_NODE_REASON_PREEMPTION")]
    Preemption,
}

/// List the breakpoints at which tasks and actors stand, and debug them.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct DebugArguments {
    /// Passed on to the debugger.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub rest: Vec<String>,
}

/// A question to the state API.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub struct StateArguments {
    /// Passed on to the program that asks.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub rest: Vec<String>,
}

/// Measure tasks, actors and objects on this machine.
#[derive(Debug, Args)]
pub struct MicrobenchmarkArguments {
    /// Passed on to the benchmark.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub rest: Vec<String>,
}

/// Options on how output looks, which is always the same: plain lines.
#[derive(Debug, Args)]
pub struct OutputArguments {
    #[arg(long, hide = true, value_parser = ["auto", "record", "pretty"])]
    log_style: Option<String>,
    #[arg(long, hide = true, value_parser = ["auto", "false", "true"])]
    log_color: Option<String>,
    #[arg(short, long, hide = true, action = ArgAction::Count)]
    verbose: u8,
}

/// Options of Ray's `start` that have no effect here, so that scripts which use them go on working:
/// the name, and whether a value follows.
const IGNORED_START_OPTIONS: &[(&str, bool)] = &[
    ("node-name", true),
    ("redis-username", true),
    ("redis-password", true),
    ("redis-shard-ports", true),
    ("object-manager-port", true),
    ("min-worker-port", true),
    ("max-worker-port", true),
    ("worker-port-list", true),
    ("ray-client-server-port", true),
    ("include-dashboard", true),
    ("dashboard-host", true),
    ("dashboard-port", true),
    ("dashboard-agent-listen-port", true),
    ("dashboard-agent-grpc-port", true),
    ("runtime-env-agent-port", true),
    ("plasma-directory", true),
    ("no-redirect-output", false),
    ("enable-object-reconstruction", false),
    ("no-monitor", false),
    ("ray-debugger-external", false),
    ("disable-usage-stats", false),
    ("labels-file", true),
    ("include-log-monitor", true),
    ("enable-resource-isolation", false),
    ("system-reserved-cpu", true),
    ("system-reserved-memory", true),
    ("cgroup-path", true),
    ("proxy-server-url", true),
];

/// Those of them that were given. Nothing is reported of an option which asks for what is so anyway.
#[derive(Debug, Default)]
pub struct IgnoredStartOptions {
    pub given: Vec<&'static str>,
}

/// Usage is never reported to anyone.
const FULFILLED: &[&str] = &["disable-usage-stats"];

impl Args for IgnoredStartOptions {
    fn augment_args(mut command: Command) -> Command {
        for (name, takes_value) in IGNORED_START_OPTIONS {
            let action = if *takes_value {
                ArgAction::Set
            } else {
                ArgAction::SetTrue
            };
            command = command.arg(Arg::new(*name).long(*name).action(action).hide(true));
        }
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for IgnoredStartOptions {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let is_given = |name: &&str| matches.value_source(name) == Some(ValueSource::CommandLine);
        let names = IGNORED_START_OPTIONS.iter().map(|(name, _)| *name);
        let given = names
            .filter(is_given)
            .filter(|name| !FULFILLED.contains(name))
            .collect();
        Ok(Self { given })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn options_without_effect_are_taken_and_noted() -> Result<(), clap::Error> {
        let line = [
            "whipray",
            "start",
            "--head",
            "--dashboard-host=0.0.0.0",
            "--disable-usage-stats",
            "--no-monitor",
            "--log-style",
            "record",
        ];
        let Verb::Start(start) = Arguments::try_parse_from(line)?.verb else {
            return Err(clap::Error::new(clap::error::ErrorKind::InvalidSubcommand));
        };
        assert!(start.head);
        assert_eq!(start.ignored.given, ["dashboard-host", "no-monitor"]);
        Ok(())
    }

    #[test]
    fn options_that_nobody_knows_are_errors() {
        assert!(Arguments::try_parse_from(["whipray", "start", "--head", "--speed=2"]).is_err());
        assert!(Arguments::try_parse_from(["whipray", "start", "--num-cpus=many"]).is_err());
    }
}

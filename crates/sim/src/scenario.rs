//! What a simulated cluster is asked to do: programs, faults, and the machine. All of it can be
//! printed, so that a failure reads as a script, and any part can be left out, so that it shrinks.

use std::fmt;

/// Chooses among what a program holds at that moment, modulo how many there are: every script
/// stays valid, whatever is cut out of it.
pub type Pick = u32;

/// An argument of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Passed {
    /// An object whose value takes the place of the argument.
    Object(Pick),
    /// A value that contains references to these objects.
    Inside(Vec<Pick>),
    /// A value that contains the handle of an actor.
    ActorInside(Pick),
}

/// On which node something is to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Placement {
    #[default]
    Anywhere,
    Spread,
    /// There, as long as that is possible.
    Rather(Pick),
    /// There, or not at all.
    On(Pick),
}

/// The options of a plain task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskOptions {
    /// Hundredths of a CPU.
    pub cpu_percent: u32,
    /// Whole pieces of the resource `gold`.
    pub gold: u32,
    /// Hundredths of a GPU; above 100 whole ones.
    pub gpu_percent: u32,
    pub max_retries: i32,
    pub retries_exceptions: bool,
    /// Calls after which its worker is replaced; zero for never.
    pub max_calls: u32,
    /// A variable of the environment that its worker must have; zero for none.
    pub environment: u32,
    /// A placement group of the program, in which it runs.
    pub group: Option<Pick>,
    pub placement: Placement,
}

/// The options of an actor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ActorOptions {
    /// Hundredths of a CPU that it holds for life.
    pub cpu_percent: u32,
    pub max_restarts: i32,
    pub max_task_retries: i32,
    /// Whether calls that raise are tried again, too.
    pub retries_exceptions: bool,
    pub max_concurrency: u32,
    /// The number of its name; zero for none.
    pub name: u32,
    pub get_if_exists: bool,
    pub detached: bool,
    /// A placement group of the program, in which it lives.
    pub group: Option<Pick>,
    pub placement: Placement,
}

/// How large a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    Inline,
    /// Bytes in shared memory.
    Shared(u64),
}

/// One result of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Result {
    pub size: Size,
    /// Objects that the result refers to.
    pub inside: Vec<Pick>,
    /// Actors whose handles are inside.
    pub actors: Vec<Pick>,
}

/// One thing that a program does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Pause {
        micros: u64,
    },
    Submit {
        plan: usize,
        options: TaskOptions,
        passed: Vec<Passed>,
    },
    CreateActor {
        plan: usize,
        options: ActorOptions,
        passed: Vec<Passed>,
    },
    Call {
        actor: Pick,
        plan: usize,
        passed: Vec<Passed>,
    },
    FindActor {
        name: u32,
    },
    Put {
        size: Size,
        inside: Vec<Pick>,
    },
    /// Waits for an object, then reads it: references inside it are held from then on.
    Get {
        object: Pick,
        timeout: Option<u64>,
    },
    /// Waits until some of what is held is there.
    Wait {
        count: Pick,
        timeout: Option<u64>,
    },
    /// Waits for all that is held, without end.
    WaitAll,
    Drop {
        object: Pick,
    },
    DropActor {
        actor: Pick,
    },
    DropView {
        view: Pick,
    },
    /// The process itself holds the object beyond the task.
    Keep {
        object: Pick,
    },
    KeepActor {
        actor: Pick,
    },
    DropKept {
        pick: Pick,
    },
    /// Takes what the process kept back into the program.
    TakeKept {
        pick: Pick,
    },
    Cancel {
        object: Pick,
        force: bool,
        recursive: bool,
    },
    Kill {
        actor: Pick,
        no_restart: bool,
    },
    Free {
        object: Pick,
    },
    /// Reserves bundles of so many hundredths of a CPU.
    CreateGroup {
        cpu_percents: Vec<u32>,
        strategy: i32,
    },
    RemoveGroup {
        group: Pick,
    },
    /// Takes an object that becomes ready with a group.
    AwaitGroup {
        group: Pick,
    },
    /// The copy of the object in the store is lost.
    Lose {
        object: Pick,
    },
    /// The process ends here, in the first `tries` tries of the task (or lives of the actor).
    Crash {
        status: i32,
        tries: u32,
    },
    /// The code raises here, in the first `tries` tries of the task.
    Raise {
        tries: u32,
    },
    ExitActor,
    /// A driver goes: with a goodbye, or as if it were killed.
    Leave {
        says_goodbye: bool,
    },
}

/// One function, constructor or driver's program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub steps: Vec<Step>,
    pub results: Vec<Result>,
}

/// What goes wrong from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A worker process gets a signal.
    KillWorker { pick: Pick, signal: i32 },
    /// The template of the workers of a machine dies, and its children with it.
    KillTemplate { machine: Pick },
    /// The next worker that is started ends before it says hello.
    SpoilStart,
    /// A connection between two processes ends, and both live on.
    Cut { pick: Pick },
    /// Nothing comes to a machine or from it for a time.
    CutMachine { machine: Pick, micros: u64 },
    /// Nothing comes from one machine to another one for a time.
    CutWay { from: Pick, to: Pick, micros: u64 },
    /// A daemon other than the head is killed, and its workers with it. The machine starts another
    /// one a while later.
    KillDaemon { machine: Pick, away: u64 },
    /// A node other than the head's is to go, at once or after `within` microseconds if it must
    /// (zero: however long it takes); its machine starts another daemon then.
    Drain { machine: Pick, within: u64 },
    /// A machine other than the head loses its power, and comes back a while later.
    LosePower { machine: Pick, away: u64 },
    /// A daemon stands still for a time.
    Freeze { machine: Pick, micros: u64 },
    /// The clock of a daemon jumps ahead.
    Jump { machine: Pick, micros: u64 },
}

impl Fault {
    /// Whether it can have control give up a node whose processes are alive.
    pub fn separates(&self) -> bool {
        matches!(self, Self::Freeze { .. } | Self::Jump { .. })
    }

    /// Whether it concerns nodes as a whole.
    pub fn is_of_nodes(&self) -> bool {
        !matches!(
            self,
            Self::KillWorker { .. }
                | Self::KillTemplate { .. }
                | Self::SpoilStart
                | Self::Cut { .. }
        )
    }
}

/// A driver: when it starts, on which machine, and what it does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Driver {
    pub at: u64,
    pub machine: Pick,
    pub plan: usize,
}

/// What a machine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeShape {
    /// When its daemon starts.
    pub at: u64,
    pub cpus: u32,
    pub gpus: u32,
    pub gold: u32,
    pub arena_bytes: u64,
}

/// One simulated cluster and its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    pub seed: u64,
    pub cpus: u32,
    pub gpus: u32,
    pub gold: u32,
    pub arena_bytes: u64,
    /// Objects that do not fit go to disk.
    pub spills: bool,
    /// The longest delay of a message, in microseconds.
    pub delay_most: u64,
    /// What messages between machines may take longer, in microseconds.
    pub far_delay_most: u64,
    /// The longest pause between two steps of a program, in microseconds.
    pub pause_most: u64,
    /// The machines beside the head's.
    pub nodes: Vec<NodeShape>,
    pub drivers: Vec<Driver>,
    /// With the time of each in microseconds.
    pub faults: Vec<(u64, Fault)>,
    pub plans: Vec<Plan>,
}

impl Scenario {
    /// Whether processes end that were not asked to: what they knew is lost then.
    pub fn has_crashes(&self) -> bool {
        let ends_process = |step: &Step| {
            matches!(
                step,
                Step::Crash { .. }
                    | Step::Kill { .. }
                    | Step::Cancel { force: true, .. }
                    | Step::Leave { .. }
                    | Step::ExitActor
                    | Step::CreateGroup { .. }
            )
        };
        !self.faults.is_empty()
            || self
                .plans
                .iter()
                .any(|plan| plan.steps.iter().any(ends_process))
    }

    /// Whether nodes go only in order: nothing is lost with them then but what had no time to move.
    pub fn has_only_drains(&self) -> bool {
        let is_other = |fault: &Fault| fault.is_of_nodes() && !matches!(fault, Fault::Drain { .. });
        !self.faults.iter().any(|(_, fault)| is_other(fault))
    }

    /// What each machine has, the head's first.
    pub fn shapes(&self) -> Vec<NodeShape> {
        let head = NodeShape {
            at: 0,
            cpus: self.cpus,
            gpus: self.gpus,
            gold: self.gold,
            arena_bytes: self.arena_bytes,
        };
        std::iter::once(head)
            .chain(self.nodes.iter().cloned())
            .collect()
    }

    /// How many things there are in it; what shrinking makes smaller.
    pub fn size(&self) -> usize {
        let plans: usize = self
            .plans
            .iter()
            .map(|plan| plan.steps.len() + plan.results.len())
            .sum();
        plans + self.faults.len() + self.drivers.len() + self.nodes.len()
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "seed {}: {} CPUs, {} GPUs, {} gold, store of {} bytes{}, delays up to {} us (+ {} us \
             between machines), pauses up to {} us",
            self.seed,
            self.cpus,
            self.gpus,
            self.gold,
            self.arena_bytes,
            if self.spills { " that spills" } else { "" },
            self.delay_most,
            self.far_delay_most,
            self.pause_most
        )?;
        for (number, node) in self.nodes.iter().enumerate() {
            writeln!(formatter, "  machine {}: {node:?}", number + 1)?;
        }
        for driver in &self.drivers {
            writeln!(
                formatter,
                "  at {} us: driver on machine {} with plan {}",
                driver.at, driver.machine, driver.plan
            )?;
        }
        for (at, fault) in &self.faults {
            writeln!(formatter, "  at {at} us: {fault:?}")?;
        }
        for (number, plan) in self.plans.iter().enumerate() {
            if plan.steps.is_empty() && plan.results.is_empty() {
                continue;
            }
            writeln!(formatter, "  plan {number}:")?;
            for step in &plan.steps {
                writeln!(formatter, "    {step:?}")?;
            }
            for result in &plan.results {
                writeln!(formatter, "    returns {result:?}")?;
            }
        }
        Ok(())
    }
}

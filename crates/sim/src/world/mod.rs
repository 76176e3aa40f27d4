//! One simulated cluster from its start to its end.

mod faults;
mod nodes;

use std::collections::BTreeMap;
use std::rc::Rc;

use whipray_proto::messages::session::Role;
use whipray_proto::{WorkerAddress, WorkerId};

use crate::agenda::{Event, Micros, TemplateSays};
use crate::around::Around;
use crate::daemon::Daemon;
use crate::network::Party;
use crate::process::Process;
use crate::scenario::Scenario;
use crate::verdict;

/// Virtual time after which programs must be through.
const PROGRAM_TIME: Micros = 600_000_000;

/// Virtual time that a cluster gets to become quiet.
const QUIET_TIME: Micros = 30_000_000;

/// Events after which something goes round in circles.
const EVENTS_MOST: u64 = 300_000;

/// How long a driver that finds no node waits until it tries again.
const DRIVER_RETRY: Micros = 20_000;

/// How a simulation ended.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What is wrong; empty where all is well.
    pub violations: Vec<String>,
    pub log: Vec<String>,
    pub events: u64,
    pub frames: u64,
    pub tasks_begun: u64,
    pub values_read: u64,
    /// Tasks that began on another node than their owner's.
    pub tasks_far: u64,
    /// Objects that were fetched from one node to another one.
    pub transfers: u64,
    /// Nodes that control gave up.
    pub nodes_lost: u64,
    /// Nodes that were drained and left nothing behind, and the objects that they had others take.
    pub nodes_drained: u64,
    pub objects_moved: u64,
    pub virtual_micros: Micros,
    pub failures_seen: BTreeMap<String, u64>,
}

/// The whole cluster.
pub struct World {
    pub around: Around,
    /// All daemons that there are or were; the first one is the head.
    pub daemons: Vec<Daemon>,
    /// For each machine the daemon that it has or had last.
    machines: Vec<Option<usize>>,
    pub processes: Vec<Process>,
    pids: BTreeMap<u32, usize>,
    spoiled_starts: u32,
    pub drivers_to_come: usize,
    pub faults_to_come: usize,
    events: u64,
    watch: Option<Watch>,
}

/// An object whose every change is logged: what each process keeps it for.
struct Watch {
    object: String,
    known: BTreeMap<usize, String>,
}

/// Runs a scenario. With `is_logged` every event is written down.
pub fn run(scenario: &Scenario, is_logged: bool) -> Outcome {
    live_through(World::new(scenario, is_logged))
}

/// The same with a log that also tells of every change of one object, by its hexadecimal id.
pub fn run_watching(scenario: &Scenario, object: &str) -> Outcome {
    let mut world = World::new(scenario, true);
    world.watch = Some(Watch {
        object: object.to_owned(),
        known: BTreeMap::new(),
    });
    live_through(world)
}

fn live_through(mut world: World) -> Outcome {
    world.live();
    let around = world.around;
    Outcome {
        violations: around.witness.violations,
        log: around.log.unwrap_or_default(),
        events: world.events,
        frames: around.network.frames,
        tasks_begun: around.witness.tasks_begun,
        values_read: around.witness.values_read,
        tasks_far: around.witness.tasks_far,
        transfers: around.witness.transfers.len() as u64,
        nodes_lost: around.witness.dead_daemons.len() as u64,
        nodes_drained: around.witness.left_in_order.len() as u64,
        objects_moved: around.witness.objects_moved,
        virtual_micros: around.now,
        failures_seen: around.witness.failures_seen,
    }
}

impl World {
    fn new(scenario: &Scenario, is_logged: bool) -> Self {
        let mut around = Around::new(Rc::new(scenario.clone()), is_logged);
        let shapes = scenario.shapes();
        let daemons = vec![Daemon::new(0, 0, &shapes[0], &mut around)];
        let mut machines = vec![None; shapes.len()];
        machines[0] = Some(0);
        for (machine, shape) in shapes.iter().enumerate().skip(1) {
            around.agenda.add(shape.at, Event::Join { machine });
        }
        for (index, driver) in scenario.drivers.iter().enumerate() {
            around.agenda.add(driver.at, Event::Driver { index });
        }
        for (index, (at, _)) in scenario.faults.iter().enumerate() {
            around.agenda.add(*at, Event::Fault { index });
        }
        Self {
            around,
            daemons,
            machines,
            processes: Vec::new(),
            pids: BTreeMap::new(),
            spoiled_starts: 0,
            drivers_to_come: scenario.drivers.len(),
            faults_to_come: scenario.faults.len(),
            events: 0,
            watch: None,
        }
    }

    /// Programs run; then everything that they hold goes; then the drivers go.
    fn live(&mut self) {
        while self.is_well() {
            if self.events.is_multiple_of(16) && verdict::are_programs_done(self) {
                break;
            }
            if self.around.now > PROGRAM_TIME || !self.turn() {
                if !verdict::are_programs_done(self) {
                    verdict::report_hang(self);
                }
                break;
            }
        }
        if !self.is_well() {
            return;
        }
        self.around
            .note(|| "--- all programs are through; what they hold goes".to_owned());
        self.let_all_go();
        self.become_quiet();
        // What ran for nobody any more may have kept something since.
        self.let_all_go();
        self.become_quiet();
        verdict::end_detached_actors(self);
        self.become_quiet();
        if self.is_well() {
            verdict::check_nothing_left(self);
        }
        if !self.is_well() {
            return;
        }
        self.around.note(|| "--- all drivers leave".to_owned());
        for index in 0..self.processes.len() {
            let process = &mut self.processes[index];
            if process.is_alive && process.role == Role::Driver {
                process.disconnect(&mut self.around);
                process.exit = Some(0);
                self.reap(index);
            }
        }
        self.become_quiet();
        if self.is_well() {
            verdict::check_after_drivers(self);
        }
    }

    fn become_quiet(&mut self) {
        // What a drain ends goes on elsewhere, which takes its time.
        let drains = self.daemons.iter().filter(|daemon| daemon.is_alive);
        let drained = drains.filter_map(|daemon| daemon.drain_over_at).max();
        let begin = self.around.now.max(drained.unwrap_or(0));
        let until = begin + QUIET_TIME;
        while self.is_well() && self.around.agenda.next_at().is_some_and(|at| at <= until) {
            self.turn();
        }
        self.around.now = self.around.now.max(until);
        if self.is_well() {
            verdict::check_quiet(self);
        }
    }

    fn is_well(&self) -> bool {
        self.around.witness.violations.is_empty()
    }

    /// Lets the next event happen; whether there was one.
    fn turn(&mut self) -> bool {
        let Some((at, event)) = self.around.agenda.take() else {
            return false;
        };
        self.around.now = self.around.now.max(at);
        self.events += 1;
        if self.events > EVENTS_MOST {
            let text = format!("no end after {EVENTS_MOST} events; the next one is {event:?}");
            self.around.witness.violation(text);
        }
        let touched = self.happen(event);
        if let Some(Party::Process(index)) = touched {
            self.reap(index);
            if self.processes[index].is_alive
                && let Err(why) = self.processes[index].core.validate()
            {
                self.around
                    .witness
                    .violation(format!("process {index}: {why}"));
            }
        }
        // Only what a daemon has done can have changed its state.
        if let Some(Party::Daemon(index)) = touched
            && let Err(why) = self.daemons[index].validate()
        {
            self.around
                .witness
                .violation(format!("daemon {index}: {why}"));
        }
        self.end_daemons();
        self.watch_object();
        if self.events.is_multiple_of(8) && !self.around.witness.has_crashes {
            verdict::check_held(self);
        }
        true
    }

    fn let_all_go(&mut self) {
        for index in 0..self.processes.len() {
            if self.processes[index].is_alive {
                self.processes[index].let_go(&mut self.around);
            }
        }
    }

    fn watch_object(&mut self) {
        let Some(watch) = &mut self.watch else { return };
        for process in self.processes.iter().filter(|process| process.is_alive) {
            let lines = process.core.objects.describe();
            let line = lines
                .into_iter()
                .find(|line| line.starts_with(&watch.object));
            let line = line.unwrap_or_default();
            let known = watch.known.entry(process.index).or_default();
            if *known != line {
                known.clone_from(&line);
                let index = process.index;
                self.around
                    .note(|| format!("process {index} WATCHED {line}"));
            }
        }
    }

    /// Lets an event happen; whose it is.
    fn happen(&mut self, event: Event) -> Option<Party> {
        if let Some(daemon) = self.daemon_of(&event) {
            if !self.daemons[daemon].is_alive {
                self.around.streams.desert(daemon);
                return None;
            }
            let thaw = self.daemons[daemon].frozen_until;
            if thaw > self.around.now {
                self.around.agenda.add(thaw, event);
                return None;
            }
            self.happen_to(daemon, event);
            return Some(Party::Daemon(daemon));
        }
        let around = &mut self.around;
        match event {
            Event::Readable { socket } => {
                let Some(Party::Process(index)) = around.network.party(socket) else {
                    return None;
                };
                if let Some(open) = around.network.held_until(socket, around.now) {
                    around.agenda.add(open, Event::Readable { socket });
                    return None;
                }
                self.processes[index].on_readable(socket, around);
                return Some(Party::Process(index));
            }
            Event::Wake { process, frame } => {
                self.processes[process].on_wake(frame, around);
                return Some(Party::Process(process));
            }
            Event::Flush { process } => {
                self.processes[process].on_flush(around);
                return Some(Party::Process(process));
            }
            Event::CoreTimer { process } => {
                self.processes[process].on_timer(around);
                return Some(Party::Process(process));
            }
            Event::Fork {
                daemon,
                worker,
                template,
            } => self.fork(daemon, worker, template),
            Event::Start { process } => {
                if self.spoiled_starts > 0 {
                    self.spoiled_starts -= 1;
                    self.end(process, 1 << 8);
                } else if self.processes[process].is_alive {
                    self.processes[process].connect(around);
                }
            }
            Event::Signal { pid, signal } => {
                if let Some(index) = self.pids.get(&pid).copied() {
                    self.end(index, signal);
                }
            }
            Event::Driver { index } => self.start_driver(index),
            Event::Fault { index } => self.fault(index),
            Event::Join { machine } => self.join(machine),
            Event::DrainOver { daemon } => self.drain_over(daemon),
            Event::Wanted {
                daemon,
                by,
                pull,
                object,
            } => return self.wanted(daemon, by, pull, object),
            Event::GiveUp { one, other } => {
                let (now, agenda) = (around.now, &mut around.agenda);
                if around.network.cut_until(one, other, now).is_some()
                    || around.network.cut_until(other, one, now).is_some()
                {
                    let has_cut = around.network.give_up_between(one, other, now, agenda);
                    around.witness.has_cuts |= has_cut;
                }
            }
            _ => {}
        }
        None
    }

    /// The daemon that an event happens to.
    fn daemon_of(&self, event: &Event) -> Option<usize> {
        match event {
            Event::Readable { socket } => match self.around.network.party(*socket) {
                Some(Party::Daemon(daemon)) => Some(daemon),
                _ => None,
            },
            Event::NodeTimer { daemon }
            | Event::TemplateSays { daemon, .. }
            | Event::TemplateGone { daemon, .. }
            | Event::Disk { daemon, .. }
            | Event::JoinDue { daemon }
            | Event::Refused { daemon }
            | Event::Beat { daemon }
            | Event::Answered { daemon }
            | Event::Sent { daemon, .. }
            | Event::Pulled { daemon, .. }
            | Event::Stalled { daemon, .. } => Some(*daemon),
            Event::Stream { to, .. } => Some(*to),
            // Those are of the head.
            Event::StreamBroken { .. } | Event::Heard { .. } => Some(0),
            _ => None,
        }
    }

    fn happen_to(&mut self, number: usize, event: Event) {
        let around = &mut self.around;
        let machine = self.daemons[number].machine;
        // What one machine is to see of another one, it sees once the way is open.
        let from = match &event {
            Event::Stream { from, .. } => Some(*from),
            Event::StreamBroken { daemon } => Some(*daemon),
            Event::Pulled { from, .. } => Some(*from),
            Event::Refused { .. } => Some(0),
            _ => None,
        };
        let from = from.map(|daemon| self.daemons[daemon].machine);
        let open = from.and_then(|from| around.network.cut_until(from, machine, around.now));
        if let Some(open) = open {
            match event {
                Event::Stream { from, to } => {
                    let random = &mut around.random;
                    let pause = |most| random.duration(most);
                    around
                        .streams
                        .wait(from, to, open, pause, &mut around.agenda);
                }
                event => around.agenda.add(open, event),
            }
            return;
        }
        let current = self.daemons[number].template;
        match event {
            Event::Readable { socket } => self.daemons[number].on_readable(socket, around),
            Event::NodeTimer { .. } => self.daemons[number].on_timer(around),
            Event::TemplateSays { says, template, .. } if template == current => {
                self.daemons[number].on_template_says(says, around);
            }
            Event::Disk { job, blocks, .. } => self.daemons[number].on_disk(job, blocks, around),
            Event::TemplateGone { template, .. } if template == current => {
                self.daemons[number].on_template_gone(around);
            }
            Event::Stream { from, .. } => self.daemons[number].on_stream(from, around),
            Event::StreamBroken { daemon } => self.daemons[number].on_stream_broken(daemon, around),
            Event::Heard { daemon } => {
                let (seat, node) = (self.daemons[daemon].seat(), self.daemons[daemon].id);
                self.daemons[number].on_heard(seat, node, around);
            }
            Event::Beat { .. } => self.daemons[number].on_beat(around),
            Event::Answered { .. } => self.daemons[number].on_answered(around),
            Event::Refused { .. } => self.daemons[number].on_refused(),
            Event::JoinDue { .. } => self.daemons[number].on_join_due(),
            Event::Sent { ask, .. } => self.daemons[number].on_sent(ask, around),
            Event::Pulled { pull, outcome, .. } => {
                self.daemons[number].on_pulled(pull, outcome, around);
            }
            Event::Stalled { pull, .. } => {
                let reason = "nothing has come for long".to_owned();
                self.daemons[number].on_pulled(pull, Err(reason), around);
            }
            _ => {}
        }
    }

    // ---- processes

    fn add(&mut self, daemon: usize, role: Role, worker: WorkerId) -> usize {
        let index = self.processes.len();
        let pid = 1000 + index as u32;
        let of = &self.daemons[daemon];
        let address = WorkerAddress {
            worker,
            node: of.id,
            endpoint: format!("unix:@sim/{index}"),
            node_endpoint: of.far_endpoint(&self.around),
        };
        let seat = of.seat();
        self.around.witness.processes.insert(worker, index);
        self.around.witness.homes.push(daemon);
        let process = Process::new(index, pid, role, address, seat, &mut self.around);
        self.processes.push(process);
        self.pids.insert(pid, index);
        index
    }

    fn fork(&mut self, daemon: usize, worker: WorkerId, template: u64) {
        let of = &self.daemons[daemon];
        if template != of.template || of.is_template_dead || !of.is_alive {
            return;
        }
        let process = self.add(daemon, Role::Worker, worker);
        let pid = self.processes[process].pid;
        self.around
            .note(|| format!("process {process} is forked (pid {pid}) by daemon {daemon}"));
        self.daemons[daemon].template_says(TemplateSays::Spawned { worker, pid }, &mut self.around);
        let delay = self.around.random.duration(20_000);
        self.around.after(delay, Event::Start { process });
    }

    fn start_driver(&mut self, index: usize) {
        let scenario = self.around.scenario.clone();
        let Some(driver) = scenario.drivers.get(index) else {
            return;
        };
        let machine = driver.machine as usize % self.machines.len();
        let Some(daemon) = self.daemon_on(machine) else {
            // The user tries again once the node is up.
            return self.around.after(DRIVER_RETRY, Event::Driver { index });
        };
        self.drivers_to_come -= 1;
        let worker = WorkerId::from_array(self.around.random.bytes());
        let process = self.add(daemon, Role::Driver, worker);
        self.processes[process].program = Some(driver.plan);
        self.processes[process].connect(&mut self.around);
    }

    /// A process ends from outside, with this status of `wait`.
    fn end(&mut self, index: usize, status: i32) {
        if self.processes[index].is_alive {
            self.processes[index].is_alive = false;
            self.processes[index].exit = Some(status);
            self.reap(index);
        }
    }

    /// Draws the consequences of the end of a process, once.
    fn reap(&mut self, index: usize) {
        let process = &mut self.processes[index];
        let Some(status) = process.exit.take() else {
            return;
        };
        process.is_alive = false;
        process.frames.clear();
        let (pid, role, home) = (process.pid, process.role, process.home.daemon);
        // What it still knew is lost with it, even where it left in order.
        let knew_nothing = process.core.objects.is_empty() && process.core.tasks.tasks.is_empty();
        let around = &mut self.around;
        around.witness.has_crashes |= !knew_nothing;
        around.note(|| format!("process {index} is gone with status {status}"));
        around.witness.process_gone(index);
        around
            .network
            .party_gone(Party::Process(index), around.now, &mut around.agenda);
        self.pids.remove(&pid);
        let daemon = &mut self.daemons[home];
        if role == Role::Worker && !daemon.is_template_dead {
            daemon.template_says(TemplateSays::Exited { pid, status }, around);
        }
    }
}

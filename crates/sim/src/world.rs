//! One simulated cluster from its start to its end.

use std::collections::BTreeMap;
use std::rc::Rc;

use whipray_proto::messages::session::Role;
use whipray_proto::{WorkerAddress, WorkerId};

use crate::agenda::{Event, Micros, TemplateSays};
use crate::around::Around;
use crate::daemon::{Daemon, node_id};
use crate::network::Party;
use crate::process::Process;
use crate::scenario::{Fault, Scenario};
use crate::verdict;

/// Virtual time after which programs must be through.
const PROGRAM_TIME: Micros = 600_000_000;

/// Virtual time that a cluster gets to become quiet.
const QUIET_TIME: Micros = 30_000_000;

/// Events after which something goes round in circles.
const EVENTS_MOST: u64 = 300_000;

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
    pub virtual_micros: Micros,
    pub failures_seen: BTreeMap<String, u64>,
}

/// The whole cluster.
pub struct World {
    pub around: Around,
    pub daemon: Daemon,
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
        virtual_micros: around.now,
        failures_seen: around.witness.failures_seen,
    }
}

impl World {
    fn new(scenario: &Scenario, is_logged: bool) -> Self {
        let mut around = Around::new(Rc::new(scenario.clone()), is_logged);
        let daemon = Daemon::new(&mut around);
        for (index, driver) in scenario.drivers.iter().enumerate() {
            around.agenda.add(driver.at, Event::Driver { index });
        }
        for (index, (at, _)) in scenario.faults.iter().enumerate() {
            around.agenda.add(*at, Event::Fault { index });
        }
        Self {
            around,
            daemon,
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
        for index in 0..self.processes.len() {
            if self.processes[index].is_alive {
                self.processes[index].let_go(&mut self.around);
            }
        }
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
        let until = self.around.now + QUIET_TIME;
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
        if let Some(index) = touched {
            self.reap(index);
            if self.processes[index].is_alive
                && let Err(why) = self.processes[index].core.validate()
            {
                self.around
                    .witness
                    .violation(format!("process {index}: {why}"));
            }
        }
        // Only what the daemon has done can have changed its state.
        if touched.is_none()
            && let Err(why) = self.daemon.validate()
        {
            self.around.witness.violation(format!("daemon: {why}"));
        }
        self.watch_object();
        if self.events.is_multiple_of(8) && !self.around.witness.has_crashes {
            verdict::check_held(self);
        }
        true
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

    fn happen(&mut self, event: Event) -> Option<usize> {
        let around = &mut self.around;
        match event {
            Event::Readable { socket } => match around.network.party(socket) {
                Some(Party::Process(index)) => {
                    self.processes[index].on_readable(socket, around);
                    return Some(index);
                }
                Some(Party::Daemon) => self.daemon.on_readable(socket, around),
                None => {}
            },
            Event::Wake { process, frame } => {
                self.processes[process].on_wake(frame, around);
                return Some(process);
            }
            Event::Flush { process } => {
                self.processes[process].on_flush(around);
                return Some(process);
            }
            Event::CoreTimer { process } => {
                self.processes[process].on_timer(around);
                return Some(process);
            }
            Event::NodeTimer => self.daemon.on_timer(around),
            Event::Fork { worker, template } => self.fork(worker, template),
            Event::Start { process } => {
                if self.spoiled_starts > 0 {
                    self.spoiled_starts -= 1;
                    self.end(process, 1 << 8);
                } else if self.processes[process].is_alive {
                    self.processes[process].connect(around);
                }
            }
            Event::TemplateSays { says, template } => {
                if template == self.daemon.template {
                    self.daemon.on_template_says(says, around);
                }
            }
            Event::Disk { job, blocks } => self.daemon.on_disk(job, blocks, &mut self.around),
            Event::TemplateGone { template } => {
                if template == self.daemon.template {
                    self.daemon.on_template_gone(around);
                }
            }
            Event::Signal { pid, signal } => {
                if let Some(index) = self.pids.get(&pid).copied() {
                    self.end(index, signal);
                }
            }
            Event::Driver { index } => self.start_driver(index),
            Event::Fault { index } => self.fault(index),
        }
        None
    }

    // ---- processes

    fn add(&mut self, role: Role, worker: WorkerId) -> usize {
        let index = self.processes.len();
        let pid = 1000 + index as u32;
        let address = WorkerAddress {
            worker,
            node: node_id(),
            endpoint: format!("unix:@sim/{index}"),
            node_endpoint: String::new(),
        };
        self.around.witness.processes.insert(worker, index);
        let process = Process::new(index, pid, role, address, &mut self.around);
        self.processes.push(process);
        self.pids.insert(pid, index);
        index
    }

    fn fork(&mut self, worker: WorkerId, template: u64) {
        if template != self.daemon.template || self.daemon.is_template_dead {
            return;
        }
        let process = self.add(Role::Worker, worker);
        let pid = self.processes[process].pid;
        self.around
            .note(|| format!("process {process} is forked (pid {pid})"));
        self.daemon
            .template_says(TemplateSays::Spawned { worker, pid }, &mut self.around);
        let delay = self.around.random.duration(20_000);
        self.around.after(delay, Event::Start { process });
    }

    fn start_driver(&mut self, index: usize) {
        self.drivers_to_come -= 1;
        let worker = WorkerId::from_array(self.around.random.bytes());
        let process = self.add(Role::Driver, worker);
        self.processes[process].program = self.around.scenario.drivers.get(index).map(|it| it.plan);
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
        let (pid, role) = (process.pid, process.role);
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
        if role == Role::Worker && !self.daemon.is_template_dead {
            self.daemon
                .template_says(TemplateSays::Exited { pid, status }, around);
        }
    }

    // ---- faults

    fn fault(&mut self, index: usize) {
        self.faults_to_come -= 1;
        let scenario = self.around.scenario.clone();
        let Some((_, fault)) = scenario.faults.get(index) else {
            return;
        };
        self.around.note(|| format!("fault: {fault:?}"));
        match fault {
            Fault::KillWorker { pick, signal } => {
                let workers = self.living_workers();
                if !workers.is_empty() {
                    self.end(workers[*pick as usize % workers.len()], *signal);
                }
            }
            Fault::KillTemplate => {
                if self.daemon.is_template_dead {
                    return;
                }
                self.daemon.is_template_dead = true;
                for worker in self.living_workers() {
                    self.end(worker, 9);
                }
                let delay = self.around.random.duration(10_000);
                let template = self.daemon.template;
                self.around.after(delay, Event::TemplateGone { template });
            }
            Fault::SpoilStart => self.spoiled_starts += 1,
            Fault::Cut { pick } => {
                let around = &mut self.around;
                let links = around.network.between_processes();
                if !links.is_empty() {
                    let link = links[*pick as usize % links.len()];
                    around.note(|| format!("connection {link} is cut"));
                    around.network.cut(link, around.now, &mut around.agenda);
                }
            }
        }
    }

    fn living_workers(&self) -> Vec<usize> {
        let is_worker = |process: &&Process| process.is_alive && process.role == Role::Worker;
        self.processes
            .iter()
            .filter(is_worker)
            .map(|process| process.index)
            .collect()
    }
}

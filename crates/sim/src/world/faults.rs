//! What goes wrong from outside.

use whipray_proto::limits;

use super::World;
use crate::agenda::{Event, Micros};
use crate::network::Machine;
use crate::process::Process;
use crate::scenario::{Fault, Pick};
use whipray_proto::messages::session::Role;

/// What the end of a node may take beyond the deadline: its last word, and the way there and back.
const DRAIN_SLACK: Micros = limits::DRAIN_LAST_WORD.as_micros() as Micros + 500_000;

const PEER_SILENCE: Micros = limits::PEER_SILENCE.as_micros() as Micros;

impl World {
    pub(super) fn fault(&mut self, index: usize) {
        self.faults_to_come -= 1;
        let scenario = self.around.scenario.clone();
        let Some((_, fault)) = scenario.faults.get(index) else {
            return;
        };
        self.around.note(|| format!("fault: {fault:?}"));
        match fault {
            Fault::KillWorker { pick, signal } => {
                let workers = self.living_workers(|_| true);
                if !workers.is_empty() {
                    self.end(workers[*pick as usize % workers.len()], *signal);
                }
            }
            Fault::KillTemplate { machine } => self.kill_template(*machine),
            Fault::SpoilStart => self.spoiled_starts += 1,
            Fault::Cut { pick } => {
                let around = &mut self.around;
                let links = around.network.between_processes();
                if !links.is_empty() {
                    let link = links[*pick as usize % links.len()];
                    around.note(|| format!("connection {link} is cut"));
                    around.network.cut(link, around.now, &mut around.agenda);
                    around.witness.has_cuts = true;
                }
            }
            Fault::CutMachine { machine, micros } => {
                let machine = self.machine(*machine);
                self.cut_machine(machine, *micros);
            }
            Fault::CutWay { from, to, micros } => {
                let (from, to) = (self.machine(*from), self.machine(*to));
                if from != to {
                    self.cut_way(from, to, *micros);
                }
            }
            Fault::KillDaemon { machine, away } => {
                if let Some(daemon) = self.daemon_beside_head(*machine) {
                    self.end_daemon(daemon, *away);
                }
            }
            Fault::Drain { machine, within } => {
                if let Some(daemon) = self.daemon_beside_head(*machine)
                    && self.daemons[daemon].is_joined
                {
                    self.drain(daemon, *within);
                }
            }
            Fault::LosePower { machine, away } => {
                if let Some(daemon) = self.daemon_beside_head(*machine) {
                    let machine = self.daemons[daemon].machine;
                    self.cut_machine(machine, *away);
                    for index in 0..self.processes.len() {
                        if self.processes[index].home.daemon == daemon {
                            self.end(index, 9);
                        }
                    }
                    self.end_daemon(daemon, *away);
                }
            }
            Fault::Freeze { machine, micros } => {
                let machine = self.machine(*machine);
                let until = self.around.now + micros;
                if let Some(daemon) = self.machines[machine] {
                    let frozen_until = &mut self.daemons[daemon].frozen_until;
                    *frozen_until = until.max(*frozen_until);
                }
            }
            Fault::Jump { machine, micros } => {
                let machine = self.machine(*machine);
                if let Some(daemon) = self.machines[machine] {
                    self.daemons[daemon].clock_ahead += micros;
                    self.around.after(1, Event::NodeTimer { daemon });
                }
            }
        }
    }

    fn drain(&mut self, daemon: usize, within: Micros) {
        let node = self.daemons[daemon].id;
        self.daemons[0].ask_to_drain(node, within.div_ceil(1000), &mut self.around);
        if within > 0 {
            self.around.witness.bound_to_go.insert(daemon);
        }
        // The last order counts, also where it leaves more time than the one before.
        let over_at = (within > 0).then(|| self.around.now + within + DRAIN_SLACK);
        self.daemons[daemon].drain_over_at = over_at;
        if within > 0 && self.around.scenario.has_only_drains() {
            let at = within + DRAIN_SLACK;
            self.around.after(at, Event::DrainOver { daemon });
        }
    }

    /// D-1: a node that was to go is gone by its deadline.
    pub(super) fn drain_over(&mut self, daemon: usize) {
        let now = self.around.now;
        let order = &self.daemons[daemon];
        if order.is_alive && order.drain_over_at.is_some_and(|at| at <= now) {
            let text = format!("D-1: daemon {daemon} is still there after its deadline");
            self.around.witness.violation(text);
        }
    }

    fn machine(&self, pick: Pick) -> Machine {
        pick as usize % self.machines.len()
    }

    fn daemon_beside_head(&self, pick: Pick) -> Option<usize> {
        let others = self.machines.len() - 1;
        let machine = 1 + (pick as usize).checked_rem(others)?;
        self.machines[machine].filter(|daemon| self.daemons[*daemon].is_alive)
    }

    fn kill_template(&mut self, machine: Pick) {
        let Some(daemon) = self.machines[self.machine(machine)] else {
            return;
        };
        if self.daemons[daemon].is_template_dead || !self.daemons[daemon].is_alive {
            return;
        }
        self.daemons[daemon].is_template_dead = true;
        for worker in self.living_workers(|process| process.home.daemon == daemon) {
            self.end(worker, 9);
        }
        let delay = self.around.random.duration(10_000);
        let template = self.daemons[daemon].template;
        self.around
            .after(delay, Event::TemplateGone { daemon, template });
    }

    fn cut_machine(&mut self, machine: Machine, micros: Micros) {
        for other in 0..self.machines.len() {
            if other != machine {
                self.cut_way(machine, other, micros);
                self.cut_way(other, machine, micros);
            }
        }
    }

    fn cut_way(&mut self, from: Machine, to: Machine, micros: Micros) {
        let around = &mut self.around;
        around.network.cut_way(from, to, around.now + micros);
        if micros > PEER_SILENCE {
            let event = Event::GiveUp {
                one: from,
                other: to,
            };
            around.after(PEER_SILENCE, event);
        }
    }

    pub(super) fn living_workers(&self, is_meant: impl Fn(&Process) -> bool) -> Vec<usize> {
        let is_worker = |process: &&Process| process.is_alive && process.role == Role::Worker;
        self.processes
            .iter()
            .filter(is_worker)
            .filter(|process| is_meant(process))
            .map(|process| process.index)
            .collect()
    }
}

//! Daemons come and go.

use whipray_proto::ObjectId;
use whipray_proto::messages::session::Role;

use super::World;
use crate::agenda::{Event, Micros};
use crate::daemon::Daemon;
use crate::network::{Machine, Party};

/// The longest time until a machine starts a new daemon for one that was given up.
const REJOIN_MOST: Micros = 3_000_000;

impl World {
    /// The daemon of a machine, once it is one of the cluster.
    pub(super) fn daemon_on(&self, machine: Machine) -> Option<usize> {
        let daemon = self.machines[machine]?;
        let entry = &self.daemons[daemon];
        (entry.is_alive && entry.is_joined).then_some(daemon)
    }

    /// Whether all machines have their daemons, and reach each other.
    pub fn is_whole(&self) -> bool {
        let now = self.around.now;
        let is_up = |machine| {
            let daemon = self.daemon_on(machine);
            daemon.is_some_and(|daemon| self.daemons[daemon].frozen_until <= now)
        };
        (0..self.machines.len()).all(is_up) && !self.around.network.has_cuts(now)
    }

    /// The daemons that are there.
    pub fn living_daemons(&self) -> Vec<usize> {
        let living = self.daemons.iter().filter(|daemon| daemon.is_alive);
        living.map(|daemon| daemon.number).collect()
    }

    /// A machine starts a daemon, as soon as the head answers.
    pub(super) fn join(&mut self, machine: Machine) {
        let is_up = self.machines[machine].is_some_and(|daemon| self.daemons[daemon].is_alive);
        if is_up {
            return;
        }
        let (now, network) = (self.around.now, &self.around.network);
        let ways = [
            network.cut_until(machine, 0, now),
            network.cut_until(0, machine, now),
            Some(self.daemons[0].frozen_until).filter(|until| *until > now),
        ];
        if let Some(open) = ways.into_iter().flatten().max() {
            return self.around.agenda.add(open, Event::Join { machine });
        }
        let shapes = self.around.scenario.shapes();
        let Some(shape) = shapes.get(machine) else {
            return;
        };
        let number = self.daemons.len();
        self.around
            .note(|| format!("machine {machine} starts daemon {number}"));
        let daemon = Daemon::new(number, machine, shape, &mut self.around);
        self.daemons.push(daemon);
        self.machines[machine] = Some(number);
    }

    /// A daemon is asked for an object, as soon as the question reaches it.
    pub(super) fn wanted(
        &mut self,
        daemon: usize,
        by: usize,
        pull: u64,
        object: ObjectId,
    ) -> Option<Party> {
        let around = &mut self.around;
        let (machine, its) = (self.daemons[daemon].machine, self.daemons[by].machine);
        let cut = around.network.cut_until(its, machine, around.now);
        let frozen = Some(self.daemons[daemon].frozen_until).filter(|until| *until > around.now);
        if let Some(open) = cut.max(frozen) {
            let event = Event::Wanted {
                daemon,
                by,
                pull,
                object,
            };
            around.agenda.add(open, event);
            return None;
        }
        if self.daemons[daemon].is_alive {
            self.daemons[daemon].on_wanted(by, pull, object, around);
            return Some(Party::Daemon(daemon));
        }
        let event = Event::Pulled {
            daemon: by,
            from: daemon,
            pull,
            outcome: Err("nobody answers there".to_owned()),
        };
        around.after(1, event);
        None
    }

    /// Ends those daemons that are to end themselves.
    pub(super) fn end_daemons(&mut self) {
        for daemon in 0..self.daemons.len() {
            if !self.daemons[daemon].is_alive {
                continue;
            }
            if let Some(reason) = self.daemons[daemon].end.take() {
                self.around
                    .note(|| format!("daemon {daemon} ends: {reason}"));
                self.daemons[daemon].say_last(&reason, &mut self.around);
                let away = self.around.random.duration(REJOIN_MOST);
                self.end_daemon(daemon, away);
            }
        }
    }

    /// A daemon is gone, and its workers with it.
    pub(super) fn end_daemon(&mut self, daemon: usize, away: Micros) {
        self.around.note(|| format!("daemon {daemon} is gone"));
        let id = self.daemons[daemon].id;
        self.daemons[daemon].is_alive = false;
        let is_in_order =
            self.daemons[daemon].has_moved_all && self.around.scenario.has_only_drains();
        let of_daemon = |process: &crate::process::Process| {
            process.home.daemon == daemon && process.role == Role::Worker
        };
        for worker in self.living_workers(of_daemon) {
            if is_in_order {
                self.around.witness.idle_at_end.insert(worker);
            }
            self.end(worker, 9);
        }
        let around = &mut self.around;
        let random = &mut around.random;
        let count = |said: usize| said - random.below(said as u64 + 1) as usize / 2;
        around.streams.cut_off(daemon, count);
        let (party, now) = (Party::Daemon(daemon), around.now);
        around.network.party_gone(party, now, &mut around.agenda);
        let machine = self.daemons[daemon].machine;
        let delay = around.network.delay(machine, 0);
        around.after(delay, Event::StreamBroken { daemon });
        around.witness.nodes.retain(|node| *node != id);
        if is_in_order {
            around.witness.left_in_order.insert(daemon);
        } else {
            around.witness.daemons_ended += 1;
        }
        for other in &self.daemons {
            for pull in other.transfers.from(daemon) {
                let event = Event::Pulled {
                    daemon: other.number,
                    from: daemon,
                    pull,
                    outcome: Err("the connection has ended".to_owned()),
                };
                around.after(delay, event);
            }
        }
        around.after(away.max(1), Event::Join { machine });
    }
}

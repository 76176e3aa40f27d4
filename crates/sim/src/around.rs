//! What every part of a simulated cluster shares: the clock, chance, the network, the observer.

use std::rc::Rc;

use crate::agenda::{Agenda, Event, Micros};
use crate::network::Network;
use crate::random::Random;
use crate::scenario::{Fault, Scenario, Step};
use crate::streams::Streams;
use crate::witness::Witness;

/// The endpoint of a daemon.
pub fn node_endpoint(daemon: usize) -> String {
    format!("unix:@sim/node{daemon}")
}

/// The world around a process or a daemon.
pub struct Around {
    pub now: Micros,
    pub random: Random,
    pub agenda: Agenda,
    pub network: Network,
    pub streams: Streams,
    pub witness: Witness,
    pub scenario: Rc<Scenario>,
    /// Whether programs get handles that nobody gave them: left in their process, or by a name.
    pub has_back_doors: bool,
    /// What happened, line by line, where somebody wants to know.
    pub log: Option<Vec<String>>,
}

impl Around {
    pub fn new(scenario: Rc<Scenario>, is_logged: bool) -> Self {
        let mut random = Random::new(scenario.seed ^ 0x5157_4152_4d00);
        let network = Network::new(random.fork(), scenario.delay_most, scenario.far_delay_most);
        let mut witness = Witness::default();
        witness.has_crashes = scenario.has_crashes();
        let separates = |(_, fault): &(u64, Fault)| fault.separates();
        witness.has_separations = scenario.faults.iter().any(separates);
        let has_such = |is_such: fn(&Step) -> bool| {
            scenario
                .plans
                .iter()
                .any(|plan| plan.steps.iter().any(is_such))
        };
        let is_back_door = |step: &Step| match step {
            Step::TakeKept { .. } => true,
            Step::CreateActor { options, .. } => options.name > 0,
            _ => false,
        };
        let has_back_doors = has_such(is_back_door);
        Self {
            has_back_doors,
            now: 0,
            random,
            agenda: Agenda::default(),
            network,
            streams: Streams::default(),
            witness,
            scenario,
            log: is_logged.then(Vec::new),
        }
    }

    /// Notes a line that is only made where it is wanted.
    pub fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            log.push(format!("{:>10} {}", self.now, compact(&line())));
        }
    }

    /// Has something happen after `delay` microseconds.
    pub fn after(&mut self, delay: Micros, event: Event) {
        self.agenda.add(self.now + delay, event);
    }
}

/// The line with ids as four digits, and without what is empty: short enough to be read.
fn compact(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("Id {") {
        let (before, id) = rest.split_at(at);
        let Some(end) = id.find('}') else { break };
        let kind = before.len()
            - before
                .chars()
                .rev()
                .take_while(char::is_ascii_alphabetic)
                .count();
        text.push_str(&before[..kind]);
        let numbers = id[..end]
            .split(|c: char| !c.is_ascii_digit())
            .filter(|n| !n.is_empty());
        let numbers: Vec<u64> = numbers.filter_map(|number| number.parse().ok()).collect();
        let first = numbers.first().copied().unwrap_or_default();
        text.push_str(&format!("#{:04x}", first & 0xffff));
        if let (4, Some(index)) = (numbers.len(), numbers.last())
            && before.ends_with("Object")
        {
            text.push_str(&format!(".{}", index & 0xffff));
        }
        rest = &id[end + 1..];
    }
    text.push_str(rest);
    let parts: Vec<&str> = text
        .split(", ")
        .filter(|part| {
            let Some((_, value)) = part.split_once(": ") else {
                return true;
            };
            !matches!(
                value,
                "None" | "\"\"" | "[]" | "{}" | "0" | "false" | "b\"\""
            ) && !part.starts_with("node: #")
        })
        .collect();
    parts.join(", ")
}

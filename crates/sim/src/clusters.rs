//! From a seed to a scenario of several machines: the programs of the same seed on one machine, spread
//! over the others, and with what goes wrong between machines.

use crate::generate::generate;
use crate::random::Random;
use crate::scenario::{Fault, NodeShape, Pick, Placement, Scenario, Size, Step};

const SECOND: u64 = 1_000_000;

/// The scenario of a seed on two to four machines.
pub fn generate_cluster(seed: u64) -> Scenario {
    let mut scenario = generate(seed);
    let mut random = Random::new(seed ^ 0x0063_6c75_7374_6572);
    let is_late = random.percent(15);
    for _ in 0..random.between(1, 3) {
        let at = if is_late {
            random.duration(SECOND)
        } else {
            random.duration(10_000)
        };
        scenario.nodes.push(NodeShape {
            at,
            cpus: random.between(1, 4) as u32,
            gpus: if random.percent(30) { scenario.gpus } else { 0 },
            gold: if random.percent(30) { scenario.gold } else { 0 },
            arena_bytes: scenario.arena_bytes,
        });
    }
    scenario.far_delay_most = *random.pick(&[1, 100, 2_000, 30_000]).unwrap_or(&100);
    if random.percent(50) {
        for driver in &mut scenario.drivers {
            driver.machine = pick(&mut random);
        }
    }
    place(&mut scenario, &mut random);
    for (_, fault) in &mut scenario.faults {
        if let Fault::KillTemplate { machine } = fault {
            *machine = pick(&mut random);
        }
    }
    if scenario.arena_bytes > 1 << 24 && random.percent(20) {
        enlarge(&mut scenario);
    }
    // Half of all clusters are without faults of nodes: there the checkers are strictest.
    if random.percent(50) {
        // Programs that take long meet the end of a node, others are through by then.
        let is_slow = random.percent(50);
        if is_slow {
            slow_down(&mut scenario);
        }
        let most = if is_slow { 8 * SECOND } else { SECOND / 2 };
        for _ in 0..random.between(1, 4) {
            let at = random.between(0, most);
            scenario.faults.push((at, fault(&mut random)));
        }
    }
    if random.percent(40) {
        // Who insists on a node waits for it as long as it is there, maybe for ever.
        let may_last = !has_bound(&scenario);
        for _ in 0..random.between(1, 2) {
            let within = match random.below(4) {
                0 => random.between(1, 2_000_000),
                1 if may_last => 0,
                _ => random.between(5, 60) * SECOND,
            };
            let machine = pick(&mut random);
            let at = random.duration(SECOND);
            scenario.faults.push((at, Fault::Drain { machine, within }));
        }
    }
    scenario
}

fn has_bound(scenario: &Scenario) -> bool {
    let is_bound = |step: &Step| match step {
        Step::CreateActor { options, .. } => matches!(options.placement, Placement::On(_)),
        Step::Submit { options, .. } => matches!(options.placement, Placement::On(_)),
        _ => false,
    };
    let mut steps = scenario.plans.iter().flat_map(|plan| &plan.steps);
    steps.any(is_bound)
}

/// Values for which it matters where they lie.
fn enlarge(scenario: &mut Scenario) {
    let larger = |size: &mut Size| {
        if let Size::Shared(bytes) = size {
            *bytes *= 8;
        }
    };
    for plan in &mut scenario.plans {
        for result in &mut plan.results {
            larger(&mut result.size);
        }
        for step in &mut plan.steps {
            if let Step::Put { size, .. } = step {
                larger(size);
            }
        }
    }
}

fn slow_down(scenario: &mut Scenario) {
    for step in scenario.plans.iter_mut().flat_map(|plan| &mut plan.steps) {
        match step {
            Step::Pause { micros } => *micros *= 50,
            Step::Get { timeout, .. } | Step::Wait { timeout, .. } => {
                *timeout = timeout.map(|micros| micros * 50);
            }
            _ => {}
        }
    }
}

fn pick(random: &mut Random) -> Pick {
    random.below(12) as Pick
}

/// Says of some tasks and actors where they are to run.
fn place(scenario: &mut Scenario, random: &mut Random) {
    // What holds CPUs for long may hold all that a machine has: nothing may insist on that one.
    let holds = |step: &Step| match step {
        Step::CreateActor { options, .. } => options.cpu_percent > 0,
        Step::CreateGroup { .. } => true,
        _ => false,
    };
    let steps = scenario.plans.iter().flat_map(|plan| &plan.steps);
    let is_held = steps.clone().any(holds);
    let percent = *random.pick(&[0, 30, 70]).unwrap_or(&0);
    let spreads = random.percent(60);
    for plan in &mut scenario.plans {
        for step in &mut plan.steps {
            if !random.percent(percent) {
                continue;
            }
            let (placement, may_insist) = match step {
                Step::Submit { options, .. } => {
                    let is_plain = options.gold == 0 && options.gpu_percent == 0;
                    let fits = options.cpu_percent == 0 || options.cpu_percent <= 100 && !is_held;
                    (&mut options.placement, is_plain && fits)
                }
                Step::CreateActor { options, .. } => (&mut options.placement, !is_held),
                _ => continue,
            };
            *placement = match random.below(4) {
                0 if may_insist => Placement::On(pick(random)),
                1 if may_insist => Placement::Rather(pick(random)),
                _ if spreads => Placement::Spread,
                _ => Placement::Anywhere,
            };
        }
    }
}

/// How long something lasts: mostly too short to be noticed as the end of a node.
fn lasting(random: &mut Random) -> u64 {
    match random.below(4) {
        0 => random.duration(SECOND),
        1 => random.between(1, 6) * SECOND,
        2 => random.between(6, 25) * SECOND,
        _ => random.between(25, 60) * SECOND,
    }
}

fn fault(random: &mut Random) -> Fault {
    let machine = pick(random);
    match random.below(8) {
        0 | 1 => Fault::CutMachine {
            machine,
            micros: lasting(random),
        },
        2 => Fault::CutWay {
            from: machine,
            to: pick(random),
            micros: lasting(random),
        },
        3 | 4 => Fault::KillDaemon {
            machine,
            away: random.between(1, 8) * SECOND / 2,
        },
        5 => Fault::LosePower {
            machine,
            away: random.between(1, 30) * SECOND,
        },
        6 => Fault::Freeze {
            machine,
            micros: lasting(random),
        },
        _ => Fault::Jump {
            machine,
            micros: random.between(1, 10) * SECOND,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_has_the_programs_of_its_seed() {
        let (one, several) = (generate(3), generate_cluster(3));
        assert_eq!(one.plans.len(), several.plans.len());
        assert!(one.nodes.is_empty() && !several.nodes.is_empty());
        assert_eq!(several, generate_cluster(3));
    }
}

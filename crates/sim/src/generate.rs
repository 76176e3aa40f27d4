//! From a seed to a scenario. Each seed switches kinds of steps on and off as a whole, so that some
//! scenarios are full of one thing and others are without it.

use crate::random::Random;
use crate::scenario::{
    ActorOptions, Driver, Fault, Passed, Pick, Plan, Result, Scenario, Size, Step, TaskOptions,
};

/// Plans that do nothing but compute: they never wait, and may hold scarce resources.
const SIMPLE_PLANS: usize = 3;

/// What a scenario is made of.
struct Features {
    nested: bool,
    shared: bool,
    references: bool,
    kept: bool,
    actors: bool,
    named: bool,
    detached: bool,
    actor_restarts: bool,
    kills: bool,
    cancels: bool,
    frees: bool,
    losses: bool,
    crashes: bool,
    raises: bool,
    scarce: bool,
    max_calls: bool,
    environments: bool,
    faults: bool,
    cuts: bool,
    leaves: bool,
    timeouts: bool,
    long_tasks: bool,
    groups: bool,
}

impl Features {
    fn draw(random: &mut Random) -> Self {
        // A third of all scenarios is without any crash: there the checkers are strictest.
        let is_calm = random.percent(35);
        Self {
            nested: random.percent(70),
            shared: random.percent(50),
            references: random.percent(70),
            kept: random.percent(40),
            actors: random.percent(60),
            named: random.percent(40),
            detached: random.percent(25),
            actor_restarts: random.percent(50),
            kills: !is_calm && random.percent(40),
            cancels: random.percent(35),
            frees: random.percent(10),
            losses: random.percent(20),
            crashes: !is_calm && random.percent(50),
            raises: random.percent(40),
            scarce: random.percent(30),
            max_calls: random.percent(20),
            environments: random.percent(20),
            faults: !is_calm && random.percent(50),
            cuts: random.percent(12),
            leaves: !is_calm && random.percent(40),
            timeouts: random.percent(30),
            long_tasks: random.percent(50),
            groups: !is_calm && random.percent(40),
        }
    }
}

/// The scenario of a seed.
pub fn generate(seed: u64) -> Scenario {
    let mut random = Random::new(seed);
    let features = Features::draw(&mut random);
    let cpus = random.between(1, 4) as u32;
    // Either actors, or placement groups, hold CPUs for long, or tasks may ask for all of them.
    let actor_budget = if random.percent(50) && !features.groups {
        (cpus - 1) * 100
    } else {
        0
    };
    let group_budget = if features.groups { (cpus - 1) * 100 } else { 0 };
    let mut maker = Maker {
        random,
        features,
        cpus,
        actor_budget,
        group_budget,
        all_cpus: actor_budget == 0 && group_budget == 0,
    };
    let mut plans: Vec<Plan> = Vec::new();
    for _ in 0..SIMPLE_PLANS {
        plans.push(maker.simple_plan());
    }
    for level in 1..=3usize {
        for _ in 0..2 {
            let steps = maker.random.between(1, 12) as usize;
            let plan = maker.plan(steps, plans.len(), level, false);
            plans.push(plan);
        }
    }
    let driver_count = 1 + maker.random.below(3) as usize;
    let mut drivers = Vec::new();
    for _ in 0..driver_count {
        let steps = maker.random.between(3, 60) as usize;
        let known = plans.len() - drivers.len();
        let mut plan = maker.plan(steps, known, 4, true);
        if maker.group_budget >= 100 {
            plan.steps.insert(0, maker.group_creation());
        }
        if maker.random.percent(60) {
            plan.steps.push(Step::WaitAll);
        }
        if maker.features.leaves && maker.random.percent(50) {
            let says_goodbye = maker.random.percent(50);
            let at = maker.random.below(plan.steps.len() as u64 + 1) as usize;
            plan.steps.insert(at, Step::Leave { says_goodbye });
        }
        drivers.push(Driver {
            at: maker.random.duration(50_000),
            machine: 0,
            plan: plans.len(),
        });
        plans.push(plan);
    }
    let faults = maker.faults();
    let random = &mut maker.random;
    let small_store = random.percent(10);
    Scenario {
        seed,
        cpus,
        gpus: if maker.features.scarce { 2 } else { 0 },
        gold: if maker.features.scarce { 2 } else { 0 },
        arena_bytes: if small_store { 600_000 } else { 1 << 30 },
        delay_most: *random.pick(&[1, 100, 1_000, 20_000]).unwrap_or(&100),
        far_delay_most: 0,
        pause_most: *random.pick(&[1, 50, 500, 5_000]).unwrap_or(&50),
        spills: small_store && random.percent(70),
        nodes: Vec::new(),
        drivers,
        faults,
        plans,
    }
}

struct Maker {
    random: Random,
    features: Features,
    cpus: u32,
    /// Hundredths of CPUs that actors may still hold for life.
    actor_budget: u32,
    /// Hundredths of CPUs that placement groups may still reserve.
    group_budget: u32,
    all_cpus: bool,
}

impl Maker {
    fn pick(&mut self) -> Pick {
        self.random.below(64) as Pick
    }

    fn picks(&mut self, most: u64) -> Vec<Pick> {
        let count = if self.features.references {
            self.random.below(most + 1)
        } else {
            0
        };
        (0..count).map(|_| self.pick()).collect()
    }

    fn size(&mut self) -> Size {
        if self.features.shared && self.random.percent(50) {
            Size::Shared(self.random.between(100_000, 300_000))
        } else {
            Size::Inline
        }
    }

    fn timeout(&mut self) -> Option<u64> {
        (self.features.timeouts && self.random.percent(50)).then(|| self.random.duration(100_000))
    }

    fn pause(&mut self) -> Step {
        let most = if self.features.long_tasks {
            200_000
        } else {
            2_000
        };
        Step::Pause {
            micros: self.random.duration(most),
        }
    }

    fn results(&mut self) -> Vec<Result> {
        let count = *self.random.pick(&[0, 1, 1, 1, 2, 3]).unwrap_or(&1);
        let has_actors = self.features.actors && self.features.references;
        (0..count)
            .map(|_| Result {
                size: self.size(),
                inside: self.picks(2),
                actors: if has_actors && self.random.percent(20) {
                    vec![self.pick()]
                } else {
                    Vec::new()
                },
            })
            .collect()
    }

    fn mishap(&mut self) -> Option<Step> {
        let tries = *self.random.pick(&[1, 1, 2, 3]).unwrap_or(&1);
        if self.features.crashes && self.random.percent(25) {
            let status = *self.random.pick(&[9, 11, 1 << 8, 0]).unwrap_or(&9);
            return Some(Step::Crash { status, tries });
        }
        if self.features.raises && self.random.percent(25) {
            return Some(Step::Raise { tries });
        }
        None
    }

    /// A plan that never waits for anything.
    fn simple_plan(&mut self) -> Plan {
        let mut steps = Vec::new();
        for _ in 0..self.random.between(0, 3) {
            let step = match self.random.below(4) {
                0 if self.features.references => {
                    let inside = self.picks(2);
                    Step::Put {
                        size: self.size(),
                        inside,
                    }
                }
                1 if self.features.kept => Step::Keep {
                    object: self.pick(),
                },
                2 if self.features.kept => Step::DropKept { pick: self.pick() },
                _ => self.pause(),
            };
            steps.push(step);
        }
        steps.extend(self.mishap());
        Plan {
            steps,
            results: self.results(),
        }
    }

    /// A plan that may use the first `known` plans, which are less deep.
    fn plan(&mut self, count: usize, known: usize, level: usize, is_driver: bool) -> Plan {
        let mut steps = Vec::new();
        let mut submits = if is_driver { 40 } else { 5 - level };
        if !is_driver && !self.features.nested {
            submits = 0;
        }
        while steps.len() < count {
            let step = match self.random.below(20) {
                0..=4 if submits > 0 => {
                    submits -= 1;
                    self.submission(known)
                }
                5..=7 if self.features.actors && submits > 0 => {
                    submits -= 1;
                    self.actor_use(known, is_driver)
                }
                8..=9 => Step::Get {
                    object: self.pick(),
                    timeout: self.timeout(),
                },
                10 => Step::Wait {
                    count: self.pick(),
                    timeout: self.timeout(),
                },
                11 => {
                    let inside = self.picks(2);
                    Step::Put {
                        size: self.size(),
                        inside,
                    }
                }
                12 => Step::Drop {
                    object: self.pick(),
                },
                13 => self.letting_go(),
                18..=19 if self.features.groups && is_driver => self.group_use(),
                14 if self.features.kept => self.keeping(),
                15 if self.features.kills && !is_driver && self.random.percent(30) => {
                    Step::ExitActor
                }
                15 if self.features.kept => self.keeping(),
                16 if self.features.cancels => Step::Cancel {
                    object: self.pick(),
                    force: self.features.crashes && self.random.percent(40),
                    recursive: self.random.percent(50),
                },
                17 if self.features.frees => Step::Free {
                    object: self.pick(),
                },
                17 if self.features.losses => Step::Lose {
                    object: self.pick(),
                },
                18 if !is_driver => match self.mishap() {
                    Some(step) => step,
                    None => self.pause(),
                },
                _ => self.pause(),
            };
            steps.push(step);
        }
        let results = if is_driver {
            Vec::new()
        } else {
            self.results()
        };
        Plan { steps, results }
    }

    fn group_use(&mut self) -> Step {
        let group = self.pick();
        match self.random.below(4) {
            0 | 1 if self.group_budget >= 100 => self.group_creation(),
            2 => Step::RemoveGroup { group },
            _ => Step::AwaitGroup { group },
        }
    }

    fn group_creation(&mut self) -> Step {
        let count = self.random.between(1, u64::from(self.group_budget / 100)) as usize;
        self.group_budget -= 100 * count as u32;
        Step::CreateGroup {
            cpu_percents: vec![100; count],
            strategy: self.random.below(3) as i32,
        }
    }

    /// A group for what is submitted, where the program has one.
    fn group(&mut self) -> Option<Pick> {
        (self.features.groups && self.random.percent(50)).then(|| self.pick())
    }

    fn letting_go(&mut self) -> Step {
        let pick = self.pick();
        match self.random.below(2) {
            0 => Step::DropActor { actor: pick },
            _ => Step::DropView { view: pick },
        }
    }

    fn keeping(&mut self) -> Step {
        let pick = self.pick();
        match self.random.below(5) {
            0 | 1 => Step::Keep { object: pick },
            2 => Step::KeepActor { actor: pick },
            3 => Step::TakeKept { pick },
            _ => Step::DropKept { pick },
        }
    }

    fn passed(&mut self) -> Vec<Passed> {
        let count = self.random.below(3);
        (0..count)
            .map(|_| match self.random.below(3) {
                0 if self.features.references => Passed::Inside(self.picks(2)),
                1 if self.features.references && self.features.actors => {
                    Passed::ActorInside(self.pick())
                }
                _ => Passed::Object(self.pick()),
            })
            .collect()
    }

    fn retries(&mut self) -> i32 {
        *self.random.pick(&[0, 0, 1, 3, 3, -1]).unwrap_or(&0)
    }

    fn submission(&mut self, known: usize) -> Step {
        let plan = self.random.below(known as u64) as usize;
        let mut options = TaskOptions {
            cpu_percent: *self.random.pick(&[0, 50, 100, 100, 100]).unwrap_or(&100),
            max_retries: self.retries(),
            retries_exceptions: self.features.raises && self.random.percent(50),
            ..TaskOptions::default()
        };
        if options.retries_exceptions && options.max_retries < 0 {
            options.max_retries = 3;
        }
        if self.features.scarce && plan < SIMPLE_PLANS && self.random.percent(60) {
            options.gold = self.random.below(3) as u32;
            options.gpu_percent = *self.random.pick(&[0, 50, 30, 100, 200]).unwrap_or(&0);
        }
        if self.all_cpus && self.random.percent(10) {
            options.cpu_percent = 100 * self.cpus;
        }
        if self.features.max_calls && self.random.percent(50) {
            options.max_calls = self.random.between(1, 3) as u32;
        }
        if self.features.environments {
            options.environment = self.random.below(3) as u32;
        }
        if options.gold == 0 && options.gpu_percent == 0 && options.cpu_percent <= 100 {
            options.group = self.group();
        }
        Step::Submit {
            plan,
            options,
            passed: self.passed(),
        }
    }

    fn actor_use(&mut self, known: usize, is_driver: bool) -> Step {
        let pick = self.pick();
        // Methods and constructors are of the least deep plans.
        let plan = self.random.below(known.min(SIMPLE_PLANS + 3) as u64) as usize;
        match self.random.below(10) {
            0..=2 => {
                let passed = self.passed();
                Step::CreateActor {
                    plan,
                    options: self.actor_options(is_driver),
                    passed,
                }
            }
            3 if self.features.named => Step::FindActor {
                name: self.random.between(1, 2) as u32,
            },
            4 if self.features.kills => Step::Kill {
                actor: pick,
                no_restart: self.random.percent(60),
            },
            _ => Step::Call {
                actor: pick,
                plan,
                passed: self.passed(),
            },
        }
    }

    fn actor_options(&mut self, is_driver: bool) -> ActorOptions {
        let mut options = ActorOptions {
            max_concurrency: 1,
            ..ActorOptions::default()
        };
        if is_driver && self.actor_budget >= 50 && self.random.percent(30) {
            options.cpu_percent = 50;
            self.actor_budget -= 50;
        }
        if self.features.actor_restarts {
            options.max_restarts = *self.random.pick(&[0, 1, 3, -1]).unwrap_or(&0);
            options.max_task_retries = self.retries();
        }
        options.retries_exceptions = self.features.raises && options.max_task_retries > 0;
        if self.random.percent(20) {
            options.max_concurrency = 3;
        }
        if options.cpu_percent == 0 {
            options.group = self.group();
        }
        if self.features.named && self.random.percent(50) {
            options.name = self.random.between(1, 2) as u32;
            options.get_if_exists = self.random.percent(50);
            options.detached = self.features.detached && self.random.percent(50);
        }
        options
    }

    fn faults(&mut self) -> Vec<(u64, Fault)> {
        if !self.features.faults {
            return Vec::new();
        }
        let cuts = self.features.cuts;
        (0..self.random.between(1, 4))
            .map(|_| {
                let at = self.random.duration(500_000);
                if cuts {
                    return (at, Fault::Cut { pick: self.pick() });
                }
                let fault = match self.random.below(8) {
                    0 => Fault::KillTemplate { machine: 0 },
                    1 => Fault::SpoilStart,
                    _ => {
                        let signal = *self.random.pick(&[9, 11, 15]).unwrap_or(&9);
                        Fault::KillWorker {
                            pick: self.pick(),
                            signal,
                        }
                    }
                };
                (at, fault)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_gives_the_same_scenario() {
        assert_eq!(generate(3), generate(3));
        assert_ne!(generate(3), generate(4));
    }
}

//! Makes a failing scenario small: whatever can be left out while it still fails, is.

use crate::scenario::Scenario;
use crate::world::run;

/// The first words of what is wrong, without ids: a smaller scenario must fail in the same way.
fn kind(scenario: &Scenario) -> Option<String> {
    let outcome = run(scenario, false);
    let first = outcome.violations.first()?;
    let words = first.split_whitespace().take(8);
    let words = words.filter(|word| !word.chars().skip(1).any(|letter| letter.is_ascii_digit()));
    Some(words.collect::<Vec<_>>().join(" "))
}

/// A scenario from which nothing more can be left out; `None` where it does not fail.
pub fn shrink(scenario: &Scenario) -> Option<Scenario> {
    let wanted = kind(scenario)?;
    let mut best = scenario.clone();
    loop {
        let before = best.size();
        for attempt in 0.. {
            let Some(candidate) = without(&best, attempt) else {
                break;
            };
            if kind(&candidate).as_ref() == Some(&wanted) {
                best = candidate;
            }
        }
        if best.size() == before {
            return Some(best);
        }
    }
}

/// The scenario without its `number`th part; `None` beyond the last one. Parts of programs that
/// are not used any more go first, since whatever they contain goes with them.
fn without(scenario: &Scenario, number: usize) -> Option<Scenario> {
    let mut smaller = scenario.clone();
    let mut left = number;
    if left < smaller.drivers.len() {
        smaller.drivers.remove(left);
        return Some(smaller);
    }
    left -= smaller.drivers.len();
    if left < smaller.faults.len() {
        smaller.faults.remove(left);
        return Some(smaller);
    }
    left -= smaller.faults.len();
    if left < smaller.nodes.len() {
        smaller.nodes.remove(left);
        return Some(smaller);
    }
    left -= smaller.nodes.len();
    // The whole of a plan, then single steps and results, from the last plan on.
    if left < smaller.plans.len() {
        let index = smaller.plans.len() - 1 - left;
        smaller.plans[index].steps.clear();
        return Some(smaller);
    }
    left -= smaller.plans.len();
    for plan in smaller.plans.iter_mut().rev() {
        if left < plan.steps.len() {
            plan.steps.remove(left);
            return Some(smaller);
        }
        left -= plan.steps.len();
        if left < plan.results.len() {
            plan.results.remove(left);
            return Some(smaller);
        }
        left -= plan.results.len();
    }
    None
}

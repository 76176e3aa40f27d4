//! The same two hundred clusters in every run: what they find is found by everybody.

use whipray_sim::{generate, run};

const SEEDS: u64 = 200;

#[test]
fn two_hundred_clusters_live_well() {
    let mut failed = Vec::new();
    let (mut tasks, mut values) = (0, 0);
    for seed in 0..SEEDS {
        let outcome = run(&generate(seed), false);
        tasks += outcome.tasks_begun;
        values += outcome.values_read;
        if let Some(first) = outcome.violations.first() {
            failed.push(format!("seed {seed}: {first}"));
        }
    }
    assert!(
        failed.is_empty(),
        "{} of {SEEDS} seeds failed; `cargo run -p whipray-sim -- --seed N --shrink` shows one of \
         them:\n{}",
        failed.len(),
        failed.join("\n")
    );
    // A simulation in which nothing happens would find nothing either.
    assert!(tasks > 5_000, "only {tasks} tasks ran");
    assert!(values > 1_000, "only {values} values were read");
}

#[test]
fn a_seed_lives_the_same_life_each_time() {
    for seed in [3, 17, 42, 106] {
        let (first, second) = (run(&generate(seed), true), run(&generate(seed), true));
        let difference = first
            .log
            .iter()
            .zip(&second.log)
            .find(|(one, other)| one != other);
        assert_eq!(difference, None, "seed {seed} differs from itself");
        assert_eq!(first.events, second.events);
    }
}

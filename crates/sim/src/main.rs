//! `whipray-sim --seed N` lives one seed through with a log, with `--several` on several machines;
//! `--from A --count N` looks for seeds that fail, on one machine and on several; `--shrink` makes a
//! failing one small first.

use std::collections::BTreeMap;
use std::process::ExitCode;

use whipray_sim::{Outcome, Scenario, generate, generate_cluster, run, run_watching, shrink};

/// Lines of the log that are printed of a seed that fails.
const TAIL_LINES: usize = 60;

struct Options {
    seed: Option<u64>,
    from: u64,
    count: u64,
    /// On one machine only, or on several only.
    is_several: Option<bool>,
    shrinks: bool,
    is_whole: bool,
    watched: Option<String>,
}

fn parse() -> Result<Options, String> {
    let mut options = Options {
        seed: None,
        from: 0,
        count: 200,
        is_several: None,
        shrinks: false,
        is_whole: false,
        watched: None,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || {
            let text = words
                .next()
                .ok_or_else(|| format!("{word} needs a number"))?;
            text.parse::<u64>()
                .map_err(|_| format!("{word} needs a number, not {text:?}"))
        };
        match word.as_str() {
            "--seed" => options.seed = Some(number()?),
            "--from" => options.from = number()?,
            "--count" => options.count = number()?,
            "--one" => options.is_several = Some(false),
            "--several" => options.is_several = Some(true),
            "--shrink" => options.shrinks = true,
            "--watch" => options.watched = words.next(),
            "--whole" => options.is_whole = true,
            _ => {
                return Err(format!(
                    "unknown option {word}; there are --seed N, --from N, --count N, --one and \
                     --several (machines), --shrink, --whole (the whole log) and --watch OBJECT"
                ));
            }
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    let options = match parse() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    let is_well = match options.seed {
        Some(seed) => show(seed, &options),
        None => search(&options),
    };
    if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn scenario(seed: u64, is_several: bool) -> Scenario {
    if is_several {
        generate_cluster(seed)
    } else {
        generate(seed)
    }
}

fn show(seed: u64, options: &Options) -> bool {
    let mut scenario = scenario(seed, options.is_several == Some(true));
    if options.shrinks
        && let Some(smaller) = shrink(&scenario)
    {
        scenario = smaller;
    }
    let outcome = match &options.watched {
        Some(object) => run_watching(&scenario, object),
        None => run(&scenario, true),
    };
    let is_well = outcome.violations.is_empty();
    let skipped = if options.is_whole {
        0
    } else {
        outcome.log.len().saturating_sub(TAIL_LINES)
    };
    for line in &outcome.log[skipped..] {
        println!("{line}");
    }
    println!("{scenario}");
    report(&outcome);
    is_well
}

fn search(options: &Options) -> bool {
    let mut failed = 0;
    let (mut events, mut tasks, mut far, mut transfers, mut lost) = (0, 0, 0, 0, 0);
    let (mut drained, mut moved) = (0, 0);
    let mut failures: BTreeMap<String, u64> = BTreeMap::new();
    let mut count = 0;
    for seed in options.from..options.from + options.count {
        for is_several in [false, true] {
            if options.is_several.is_some_and(|only| only != is_several) {
                continue;
            }
            count += 1;
            let outcome = run(&scenario(seed, is_several), false);
            events += outcome.events;
            tasks += outcome.tasks_begun;
            far += outcome.tasks_far;
            transfers += outcome.transfers;
            lost += outcome.nodes_lost;
            drained += outcome.nodes_drained;
            moved += outcome.objects_moved;
            for (kind, count) in &outcome.failures_seen {
                *failures.entry(kind.clone()).or_default() += count;
            }
            if let Some(first) = outcome.violations.first() {
                failed += 1;
                let line: String = first.lines().take(3).collect::<Vec<_>>().join(" ");
                let line: String = line.chars().take(300).collect();
                let form = if is_several { " (several)" } else { "" };
                println!("seed {seed}{form}: {line}");
            }
        }
    }
    println!(
        "{count} scenarios, {failed} failed; {events} events, {tasks} tasks begun, {far} of them on \
         other nodes, {transfers} objects fetched, {lost} nodes lost, {drained} of them drained in order, \
         {moved} objects moved; failures seen: {failures:?}"
    );
    failed == 0
}

fn report(outcome: &Outcome) {
    println!(
        "{} events, {} frames, {} tasks begun, {} values read, {} virtual us; failures seen: {:?}",
        outcome.events,
        outcome.frames,
        outcome.tasks_begun,
        outcome.values_read,
        outcome.virtual_micros,
        outcome.failures_seen
    );
    for violation in &outcome.violations {
        println!("VIOLATION {violation}");
    }
}

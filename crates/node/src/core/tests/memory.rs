use super::*;
use crate::core::memory::choose;
use whipray_proto::failure::MemoryUse;
use whipray_proto::resources::MEMORY;
use whipray_proto::{DeathCause, DeathKind};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const REFRESH: Micros = 250_000;
const SETTINGS: MemorySettings = MemorySettings {
    threshold_permille: 950,
    refresh: REFRESH,
};

fn uses(pid: u32, resident_bytes: u64, requested_bytes: u64) -> MemoryUse {
    MemoryUse {
        pid,
        name: "f".into(),
        resident_bytes,
        requested_bytes,
    }
}

fn chosen(candidates: &[MemoryUse]) -> Option<u32> {
    choose(candidates).map(|victim| victim.pid)
}

#[test]
fn the_culprit_is_furthest_above_its_request_not_the_largest_or_newest() {
    let large_as_asked = uses(1, 8 * GIB, 8 * GIB);
    let greedy = uses(2, 3 * GIB, GIB);
    let newest = uses(3, 2 * GIB, GIB);
    assert_eq!(chosen(&[large_as_asked, greedy, newest]), Some(2));
}

#[test]
fn a_worker_without_a_request_asked_for_nothing() {
    assert_eq!(
        chosen(&[uses(1, 4 * GIB, 2 * GIB), uses(2, 3 * GIB, 0)]),
        Some(2)
    );
}

#[test]
fn small_processes_are_not_ended_in_vain() {
    let bare = uses(1, 30 * MIB, 0);
    let slightly_above = uses(2, GIB + 80 * MIB, GIB);
    assert_eq!(chosen(&[bare, slightly_above]), Some(2));
}

#[test]
fn who_keeps_to_its_word_is_left_alone() {
    assert_eq!(
        chosen(&[uses(1, GIB, GIB), uses(2, 2 * GIB, 4 * GIB)]),
        None
    );
    let silent = uses(3, 40 * MIB, 0);
    assert_eq!(chosen(&[uses(1, GIB, GIB), silent]), Some(3));
    assert_eq!(chosen(&[]), None);
}

/// A node of 10 GiB with a driver and a worker that is leased with `memory` bytes.
fn watched(memory: f64) -> (Stage, ClientId, u32) {
    let mut stage = Stage::new(cpus(2.0).with(MEMORY, 100.0 * GIB as f64));
    stage.node.config.memory = SETTINGS;
    let (driver, job) = stage.driver();
    stage.start_workers();
    stage.target_of(driver, 1, job, 1, cpus(1.0).with(MEMORY, memory));
    let worker = stage.granted(driver)[0].worker.worker;
    let pid = stage.pids[&worker];
    (stage, driver, pid)
}

fn read(stage: &mut Stage, used_bytes: u64, workers: Option<Vec<(u32, u64)>>) {
    let machine = MachineMemory {
        used_bytes,
        total_bytes: 10 * GIB,
        scope: "the machine",
    };
    let reading = MemoryReading { machine, workers };
    stage.node.on_memory(&reading, stage.now);
    stage.settle();
}

/// What the node wants to read, if it does.
fn wanted(stage: &mut Stage) -> Option<bool> {
    let mut wanted = None;
    stage.effects.retain(|effect| match effect {
        Effect::ReadMemory { with_each, .. } => {
            wanted = Some(*with_each);
            false
        }
        _ => true,
    });
    wanted
}

fn warnings(stage: &mut Stage, client: ClientId) -> Vec<String> {
    let is_warning = |message| match message {
        Message::WarnDriver(warning) => Some(warning.text),
        _ => None,
    };
    let received = stage.received(client);
    received.into_iter().filter_map(is_warning).collect()
}

#[test]
fn the_monitor_sleeps_while_nobody_works() {
    let mut stage = Stage::new(cpus(1.0));
    stage.node.config.memory = SETTINGS;
    let (driver, job) = stage.driver();
    stage.start_workers();
    stage.wait(10 * REFRESH);
    assert_eq!(wanted(&mut stage), None);
    stage.target(driver, 1, job, 1);
    let lease = stage.granted(driver)[0].lease;
    stage.wait(REFRESH);
    assert_eq!(wanted(&mut stage), Some(false));
    read(&mut stage, GIB, None);
    stage.target(driver, 1, job, 0);
    stage.give_back(driver, lease);
    stage.wait(100 * REFRESH);
    stage.wait(100 * REFRESH);
    assert_eq!(wanted(&mut stage), None);
}

#[test]
fn the_more_memory_is_left_the_later_is_the_next_look() {
    let (mut stage, ..) = watched(0.0);
    stage.wait(REFRESH);
    assert_eq!(wanted(&mut stage), Some(false));
    read(&mut stage, GIB, None);
    stage.wait(2 * REFRESH);
    assert_eq!(
        wanted(&mut stage),
        None,
        "8.5 GiB cannot be filled meanwhile"
    );
    stage.wait(6 * REFRESH);
    assert_eq!(wanted(&mut stage), Some(false));
    read(&mut stage, 9 * GIB, None);
    stage.wait(REFRESH);
    assert_eq!(wanted(&mut stage), Some(false));
}

#[test]
fn above_the_threshold_the_culprit_ends_once_and_its_owner_hears_why() {
    let (mut stage, driver, pid) = watched(GIB as f64);
    read(&mut stage, 9 * GIB + 700 * MIB, None);
    assert_eq!(wanted(&mut stage), Some(true));
    read(&mut stage, 9 * GIB + 700 * MIB, Some(vec![(pid, 5 * GIB)]));
    assert!(stage.effects.contains(&Effect::KillProcess { pid }));
    let told = warnings(&mut stage, driver);
    assert!(
        told[0].contains("f (pid") && told[0].contains("5.0 GiB"),
        "{told:?}"
    );
    stage.wait(REFRESH);
    assert_eq!(wanted(&mut stage), Some(false));
    read(&mut stage, 9 * GIB + 800 * MIB, None);
    assert_eq!(
        wanted(&mut stage),
        None,
        "the first one is still on its way out"
    );
    let worker = *stage
        .pids
        .iter()
        .find(|(_, known)| **known == pid)
        .unwrap()
        .0;
    stage.exited(worker, 9);
    let lost = stage
        .received(driver)
        .into_iter()
        .find_map(|message| match message {
            Message::LeaseLost(lost) => Some(lost.cause),
            _ => None,
        });
    let cause: DeathCause = lost.unwrap_or_default();
    assert_eq!(cause.kind(), DeathKind::OutOfMemory);
    let memory = cause.memory.unwrap_or_default();
    assert_eq!(memory.victim, uses(pid, 5 * GIB, GIB));
    assert_eq!(
        (memory.total_bytes, memory.scope.as_str()),
        (10 * GIB, "the machine")
    );
}

#[test]
fn where_no_worker_is_to_blame_drivers_are_told_once_and_nobody_ends() {
    let (mut stage, driver, pid) = watched(4.0 * GIB as f64);
    for _ in 0..3 {
        read(&mut stage, 9 * GIB + 900 * MIB, Some(vec![(pid, GIB)]));
    }
    assert!(!stage.effects.contains(&Effect::KillProcess { pid }));
    assert_eq!(warnings(&mut stage, driver).len(), 1);
    read(&mut stage, GIB, None);
    read(&mut stage, 9 * GIB + 900 * MIB, Some(vec![(pid, GIB)]));
    assert_eq!(
        warnings(&mut stage, driver).len(),
        1,
        "a new shortage is news again"
    );
}

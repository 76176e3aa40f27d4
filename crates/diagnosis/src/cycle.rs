//! Cycles of tasks that wait for each other.

use whipray_proto::messages::inquiry::ObjectAt;
use whipray_proto::{TaskId, WorkerId};

use crate::Cluster;
use crate::progress::{Obstacle, Progress};
use crate::survey::Survey;

/// Tasks that wait for each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// One sentence for each, in order: each waits for the next, the last for the first.
    pub members: Vec<String>,
    /// The same, whoever of them looks.
    pub signature: u64,
}

/// Whether one of these objects will never come, because its task waits for itself.
///
/// Reports of different processes are of different moments. So it is looked at twice: a wait that
/// stood in both looks stood all the time between them, and what all of its members waited for at
/// the same moment they wait for for ever.
pub fn find_cycle(cluster: &mut dyn Cluster, objects: &[ObjectAt]) -> Option<Cycle> {
    let before = Survey::of_objects(cluster, objects);
    let waits_before = standing(&before, objects)?;
    let survey = Survey::of_objects(cluster, objects);
    if standing(&survey, objects)? != waits_before {
        return None;
    }
    cycle_from(&survey, objects)
}

/// What stands still for ever, by one survey: the tasks, and the waits of their threads.
type Standing = (Vec<TaskId>, Vec<(WorkerId, u64)>);

fn standing(survey: &Survey, objects: &[ObjectAt]) -> Option<Standing> {
    let progress = Progress::of(survey);
    if objects.iter().all(|at| progress.is_coming(at)) {
        return None;
    }
    let stuck = progress.stuck();
    let processes = survey.processes.values();
    let mut waits: Vec<(WorkerId, u64)> = processes
        .flat_map(|process| process.waits.iter().map(|wait| (process.worker, wait)))
        .filter(|(_, wait)| wait.objects.iter().any(|at| !progress.is_coming(at)))
        .map(|(process, wait)| (process, wait.number))
        .collect();
    waits.sort_unstable();
    Some((stuck, waits))
}

/// The cycle that keeps one of these objects from coming, by one survey.
pub(crate) fn cycle_from(survey: &Survey, objects: &[ObjectAt]) -> Option<Cycle> {
    let progress = Progress::of(survey);
    let first = objects.iter().find(|at| !progress.is_coming(at))?;
    let mut path: Vec<(TaskId, Obstacle)> = Vec::new();
    let mut task = first.object.task();
    let start = loop {
        if let Some(position) = path.iter().position(|(known, _)| *known == task) {
            break position;
        }
        // A task that blocks others may be known by its wait alone.
        let obstacle = progress
            .obstacle(&task)
            .or_else(|| obstacle_by_wait(survey, &progress, &task))?;
        let next = obstacle.task();
        path.push((task, obstacle));
        task = next;
    };
    let mut members: Vec<(TaskId, Obstacle)> = path.split_off(start);
    // Whoever looks, the cycle begins with the same one.
    let least = members
        .iter()
        .enumerate()
        .min_by_key(|(_, (task, _))| *task);
    let least = least.map_or(0, |(position, _)| position);
    members.rotate_left(least);
    let signature = members
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, (task, _)| {
            let bytes = task.to_array();
            bytes.iter().fold(hash, |hash: u64, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
            })
        });
    let members = members
        .iter()
        .map(|(task, obstacle)| describe(survey, task, obstacle))
        .collect();
    Some(Cycle { members, signature })
}

fn obstacle_by_wait(survey: &Survey, progress: &Progress<'_>, task: &TaskId) -> Option<Obstacle> {
    let mut processes = survey.processes.values();
    let (process, wait) = processes.find_map(|process| {
        let wait = process.waits.iter().find(|wait| wait.task == *task)?;
        Some((process.worker, wait))
    })?;
    let mut objects = wait.objects.iter();
    let missing = objects.find(|at| !progress.is_coming(at))?;
    let task = missing.object.task();
    Some(Obstacle::Get { process, task })
}

fn describe(survey: &Survey, task: &TaskId, obstacle: &Obstacle) -> String {
    let (name, other) = (survey.name(task), survey.name(&obstacle.task()));
    let pid = |process: &WorkerId| survey.processes.get(process).map_or(0, |it| it.pid);
    match obstacle {
        Obstacle::Get { process, .. } => {
            format!("{name} (pid {}) waits in get for {other}", pid(process))
        }
        Obstacle::Argument { .. } => format!("{name} waits for its argument, a result of {other}"),
        Obstacle::Behind { .. } => format!("{name} waits until {other}, called before it, can run"),
        Obstacle::Runs { process, .. } => {
            format!(
                "{name} waits in process {} until {other} is through",
                pid(process)
            )
        }
        Obstacle::Constructor { process, .. } => format!(
            "{name} waits for the constructor of its actor (pid {}), which waits in get for {other}",
            pid(process)
        ),
    }
}

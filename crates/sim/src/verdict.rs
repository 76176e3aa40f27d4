//! What must hold once programs are through.
//!
//! - V-1: nothing hangs: every program comes to its end.
//! - V-2: with nothing held, owners know no object and no task, and hold no lease.
//! - V-3: the store is empty, all resources are free, and nobody waits.
//! - V-4: no message is under way, and none follows.
//! - V-5: with all drivers gone, no job, actor or worker of theirs is left.

use std::collections::BTreeMap;

use whipray_control::storage::Table;
use whipray_proto::ObjectId;
use whipray_proto::messages::session::Role;

use crate::process::{FrameKind, Process, Stage};
use crate::world::World;

/// Whether no program runs, and none is to come.
pub fn are_programs_done(world: &World) -> bool {
    world.drivers_to_come == 0
        && world.faults_to_come == 0
        && world.is_whole()
        && world
            .processes
            .iter()
            .filter(|process| process.is_alive)
            .all(|process| {
                // Where the node is gone, nothing comes of tasks any more.
                let is_cut_off = world.around.witness.cut_off.contains(&process.index);
                process.program.is_none()
                    && process.frames.is_empty()
                    && (is_cut_off || process.core.tasks.tasks.is_empty())
                    && process.core.execution.is_empty()
            })
}

/// V-1: says what hangs.
pub fn report_hang(world: &mut World) {
    let mut lines = Vec::new();
    for process in world.processes.iter().filter(|process| process.is_alive) {
        for frame in process.frames.values() {
            let stage = match &frame.stage {
                Stage::Waits { cells, .. } => {
                    let missing: Vec<String> = cells
                        .iter()
                        .filter(|cell| !cell.is_ready())
                        .map(|cell| cell.id().to_hex())
                        .collect();
                    format!("waits for {missing:?}")
                }
                Stage::Asks { .. } => "waits for an answer of the node".to_owned(),
                _ => "runs".to_owned(),
            };
            let kind = match frame.kind {
                FrameKind::Driver => "driver",
                FrameKind::Task { .. } => "task",
                FrameKind::Constructor { .. } => "constructor",
            };
            let plan = frame.plan;
            lines.push(format!(
                "process {} {kind} (plan {plan}) {stage}",
                process.index
            ));
        }
        let mut tasks: Vec<_> = process.core.tasks.tasks.values().collect();
        tasks.sort_unstable_by_key(|task| task.spec.task);
        for task in tasks {
            lines.push(format!(
                "process {} has {} ({}) with {} objects missing",
                process.index, task.spec.task, task.spec.name, task.missing
            ));
        }
    }
    for daemon in world.living_daemons() {
        let (status, demands) = world.daemons[daemon].ask(&mut world.around);
        let free = status.available.describe();
        lines.push(format!("node {daemon} has {free} free"));
        let unserved = demands.iter();
        lines.extend(unserved.map(|demand| format!("node {daemon} does not serve {demand:?}")));
    }
    if !world.is_whole() {
        lines.push("machines are missing".to_owned());
    }
    let text = format!("V-1: programs hang:\n    {}", lines.join("\n    "));
    world.around.witness.violation(text);
}

/// W-6: what programs hold is known to its owner. A task that runs again may have got references inside
/// of its arguments that their owners, other processes, have dropped since it ran first.
pub fn check_held(world: &mut World) {
    let mut lost = Vec::new();
    let witness = &world.around.witness;
    if !witness.lost.is_empty() {
        return;
    }
    let is_ended = |process: &Process| {
        let actor = process.actor().and_then(|actor| witness.actors.get(&actor));
        actor.is_some_and(|actor| actor.is_ended)
    };
    for process in world
        .processes
        .iter()
        .filter(|it| it.is_alive && !is_ended(it))
    {
        for handle in process.held() {
            let object = handle.id();
            let Some(owner) = world.around.witness.object_owners.get(&object) else {
                continue;
            };
            let owner = &world.processes[*owner];
            if owner.is_alive && owner.core.objects.cell(&object).is_none() {
                lost.push(format!(
                    "W-6: process {} holds {object}, which its owner, process {}, has dropped",
                    process.index, owner.index
                ));
            }
        }
    }
    for text in lost {
        world.around.witness.violation(text);
    }
}

/// The references inside the values of objects, as their owners know them; those that the constructor
/// of an actor took are inside its handle.
fn contained(world: &World) -> BTreeMap<ObjectId, Vec<ObjectId>> {
    let mut inside = BTreeMap::new();
    for process in world.processes.iter().filter(|process| process.is_alive) {
        for line in process.core.objects.describe() {
            let id = line.split_whitespace().next().and_then(ObjectId::from_hex);
            let Some(object) = id else { continue };
            let value = process
                .core
                .objects
                .cell(&object)
                .and_then(|cell| cell.value());
            let references = value.and_then(|value| value.contained);
            let ids = references.map_or_else(Vec::new, |references| references.objects);
            inside.entry(object).or_insert_with(Vec::new).extend(ids);
        }
        for (handle, taken) in process.core.held_for_constructors() {
            inside.entry(handle).or_default().extend(taken);
        }
    }
    inside
}

/// Whether objects refer to each other in a circle: counts of references never free those, and
/// programs that make one have to live with that.
fn has_circle(world: &World) -> bool {
    let mut left = contained(world);
    loop {
        let known: Vec<ObjectId> = left.keys().copied().collect();
        let is_leaf = |ids: &Vec<ObjectId>| !ids.iter().any(|id| known.contains(id));
        let before = left.len();
        left.retain(|_, ids| !is_leaf(ids));
        if left.len() == before {
            return !left.is_empty();
        }
    }
}

/// V-2 and V-3.
pub fn check_nothing_left(world: &mut World) {
    // Without a driver that could kill it, a detached actor lives on, and its owner keeps what its
    // constructor took.
    let is_excused = world.around.witness.has_cuts || !living_detached(world).is_empty();
    if is_excused || has_circle(world) {
        return;
    }
    let mut wrong = Vec::new();
    let cut_off = &world.around.witness.cut_off;
    let with_node = |process: &&Process| process.is_alive && !cut_off.contains(&process.index);
    for process in world.processes.iter().filter(with_node) {
        let core = &process.core;
        if !core.objects.is_empty() {
            let objects = core.objects.describe().join("\n    ");
            wrong.push(format!(
                "V-2: process {} still knows\n    {objects}",
                process.index
            ));
        }
        if !core.lineage.is_empty() {
            let count = core.lineage.len();
            wrong.push(format!(
                "V-2: process {} still keeps {count} finished tasks",
                process.index
            ));
        }
        if !core.tasks.leases.is_empty() {
            let count = core.tasks.leases.len();
            wrong.push(format!(
                "V-2: process {} still holds {count} leases",
                process.index
            ));
        }
    }
    for daemon in world.living_daemons() {
        check_node_is_empty(world, daemon, &mut wrong);
    }
    for daemon in world.living_daemons() {
        let is_idle = |process: &&Process| {
            process.is_alive
                && process.home.daemon == daemon
                && process.role == Role::Worker
                && process.lived.is_none()
        };
        let idle = world.processes.iter().filter(is_idle).count();
        if idle > world.daemons[daemon].cpus.max(2) as usize {
            wrong.push(format!("V-3: {idle} idle workers are still there"));
        }
    }
    let actors: Vec<String> = world
        .processes
        .iter()
        .filter(|process| process.is_alive)
        .filter_map(|process| Some((process.index, process.lived.as_ref()?.actor)))
        .map(|(index, actor)| format!("process {index} is still actor {actor}"))
        .collect();
    wrong.extend(actors);
    for text in wrong {
        world.around.witness.violation(text);
    }
}

fn check_node_is_empty(world: &mut World, daemon: usize, wrong: &mut Vec<String>) {
    let (status, demands) = world.daemons[daemon].ask(&mut world.around);
    if status.available != status.total {
        wrong.push(format!(
            "V-3: of {} only {} is free on node {daemon}",
            status.total.describe(),
            status.available.describe()
        ));
    }
    if !status.bundles.is_empty() {
        let count = status.bundles.len();
        wrong.push(format!(
            "V-3: {count} bundles of placement groups are still there"
        ));
    }
    // The word on a copy that was fetched is lost with whoever fetched it: such a one goes when its
    // room is needed, or with its owner.
    let excused = world.around.witness.untold_by(daemon);
    if status.store_objects > excused || status.store_used_bytes != 0 && excused == 0 {
        wrong.push(format!(
            "V-3: the store of node {daemon} still has {} objects in {} bytes",
            status.store_objects, status.store_used_bytes
        ));
    }
    if !demands.is_empty() {
        wrong.push(format!("V-3: the node still does not serve {demands:?}"));
    }
}

fn living_detached(world: &World) -> Vec<whipray_proto::ActorId> {
    world
        .processes
        .iter()
        .filter(|process| process.is_alive)
        .filter_map(|process| Some(process.lived.as_ref()?.actor))
        .filter(|actor| world.around.witness.actors[actor].options.detached)
        .collect()
}

/// Some driver kills the detached actors, as somebody must.
pub fn end_detached_actors(world: &mut World) {
    for actor in living_detached(world) {
        let is_driver = |process: &&mut Process| process.is_alive && process.role == Role::Driver;
        if let Some(driver) = world.processes.iter_mut().find(is_driver) {
            driver.core.kill_actor(actor, true);
            driver.commit(&mut world.around);
        }
    }
}

/// V-4: nobody speaks any more.
pub fn check_quiet(world: &mut World) {
    if !world.around.network.is_silent() || !world.around.streams.is_silent() {
        world
            .around
            .witness
            .violation("V-4: messages are still under way".to_owned());
    }
}

/// V-5.
pub fn check_after_drivers(world: &mut World) {
    let mut wrong = Vec::new();
    // Detached actors live on where no driver was left to kill them, and those that they have.
    let detached = living_detached(world).len();
    let is_owned_by_actor = |actor: &whipray_proto::ActorId| {
        let owner = &world.processes[world.around.witness.actors[actor].owner];
        owner.is_alive && owner.lived.is_some()
    };
    let is_left = |process: &&Process| {
        let actor = process.lived.as_ref().map(|lived| &lived.actor);
        process.is_alive
            && actor.is_some_and(|actor| {
                !world.around.witness.actors[actor].options.detached && !is_owned_by_actor(actor)
            })
    };
    let left = world.processes.iter().filter(is_left);
    let left: Vec<usize> = left.map(|process| process.index).collect();
    if !left.is_empty() {
        wrong.push(format!("V-5: actors still live in processes {left:?}"));
    }
    for daemon in world.living_daemons() {
        let (status, demands) = world.daemons[daemon].ask(&mut world.around);
        if detached == 0 {
            if status.available != status.total {
                let free = status.available.describe();
                wrong.push(format!(
                    "V-5: of {} only {free} is free on node {daemon}",
                    status.total.describe()
                ));
            }
            if status.store_objects != 0 {
                wrong.push(format!(
                    "V-5: the store of node {daemon} still has {} objects",
                    status.store_objects
                ));
            }
        }
        if !demands.is_empty() {
            wrong.push(format!("V-5: the node still does not serve {demands:?}"));
        }
    }
    let jobs = world.daemons[0].records(Table::Jobs);
    if detached == 0 && jobs != 0 {
        wrong.push(format!("V-5: {jobs} jobs are still kept"));
    }
    for text in wrong {
        world.around.witness.violation(text);
    }
}

//! The steps of programs: what a user's code does.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;
use whipray_proto::messages::actor::GetNamedActor;
use whipray_proto::messages::lease::SchedulingClass;
use whipray_proto::resources::{CPU, GPU};
use whipray_proto::task::TaskKind;
use whipray_proto::{
    ActorId, ActorSpec, FunctionId, JobId, ObjectId, ObjectValue, Resources, TaskId, TaskSpec,
};
use whipray_worker::cell::ObjectCell;
use whipray_worker::core::{Call, CoreArgument};
use whipray_worker::{ClassSlot, TaskTemplate};

use super::Process;
use super::execution::Ending;
use super::frame::{ActorRef, Frame, Handle, Stage, Then};
use super::groups::{bound_to, strategy};
use super::reading::{Flow, pick_of};
use super::writing::{ROOM_TRIES, content};
use crate::around::Around;
use crate::scenario::{ActorOptions, Passed, Pick, Size, Step, TaskOptions};
use crate::witness::TaskRecord;

/// Indexes of objects that are put, as opposed to results.
const PUT: u32 = 0x8000_0000;

impl Process {
    pub(super) fn run_step(&mut self, frame: &mut Frame, step: &Step, around: &mut Around) -> Flow {
        let index = self.index;
        around.note(|| format!("process {index} frame {}: {step:?}", frame.number));
        match step {
            Step::Pause { micros } => {
                self.wake_at(frame, around.now + micros, around);
                return Flow::Rest;
            }
            Step::Submit {
                plan,
                options,
                passed,
            } => {
                self.submit(frame, *plan, options, passed, around);
            }
            Step::CreateActor {
                plan,
                options,
                passed,
            } => {
                return self.create_actor(frame, *plan, options, passed, around);
            }
            Step::Call {
                actor,
                plan,
                passed,
            } => self.call(frame, *actor, *plan, passed, around),
            Step::FindActor { name } => {
                let request = self.open_request();
                let message = GetNamedActor {
                    request,
                    name: name_of(*name),
                    ..Default::default()
                };
                return self.ask(frame, message.into(), request, Then::FindActor, around);
            }
            Step::Put { size, inside } => return self.put(frame, *size, inside, around),
            Step::Get { object, timeout } => {
                let Some(handle) = pick_of(&frame.objects, *object).cloned() else {
                    return Flow::Next;
                };
                if handle.cell.is_ready() {
                    return self.read_object(frame, handle, around);
                }
                let timeout = self.patience(*timeout, around);
                let cells = vec![handle.cell.clone()];
                return self.begin_wait(frame, cells, 1, timeout, Some(handle), around);
            }
            Step::Wait { count, timeout } => {
                let missing = missing(frame);
                let needed = *count as usize % (missing.len() + 1);
                if needed > 0 {
                    let timeout = self.patience(*timeout, around);
                    return self.begin_wait(frame, missing, needed, timeout, None, around);
                }
            }
            Step::WaitAll => {
                let missing = missing(frame);
                let needed = missing.len();
                if needed > 0 {
                    let timeout = self.patience(None, around);
                    return self.begin_wait(frame, missing, needed, timeout, None, around);
                }
            }
            Step::Drop { object } => {
                if let Some(handle) = take(&mut frame.objects, *object) {
                    self.release(handle, around);
                }
            }
            Step::DropActor { actor } => {
                if let Some(actor) = take(&mut frame.actors, *actor) {
                    self.release_actor(actor, around);
                }
            }
            Step::DropView { view } => {
                if let Some(object) = take(&mut frame.views, *view) {
                    self.unview(object, around);
                }
            }
            Step::Keep { object } => self.kept.extend(take(&mut frame.objects, *object)),
            Step::KeepActor { actor } => {
                self.kept_actors.extend(take(&mut frame.actors, *actor));
            }
            Step::DropKept { pick } => {
                if let Some(handle) = take(&mut self.kept, *pick) {
                    self.release(handle, around);
                } else if let Some(actor) = take(&mut self.kept_actors, *pick) {
                    self.release_actor(actor, around);
                }
            }
            Step::TakeKept { pick } => {
                if let Some(handle) = take(&mut self.kept, *pick) {
                    frame.objects.push(handle);
                } else {
                    frame.actors.extend(take(&mut self.kept_actors, *pick));
                }
            }
            Step::Cancel {
                object,
                force,
                recursive,
            } => {
                self.cancel(frame, *object, *force, *recursive, around);
            }
            Step::Kill { actor, no_restart } => {
                if let Some(actor) = pick_of(&frame.actors, *actor).map(|actor| actor.actor) {
                    if let Some(record) = around.witness.actors.get_mut(&actor) {
                        record.is_kill_asked = true;
                    }
                    self.core.kill_actor(actor, *no_restart);
                    self.commit(around);
                }
            }
            Step::Free { object } => self.free(frame, *object, around),
            Step::Lose { object } => self.lose(frame, *object, around),
            Step::CreateGroup {
                cpu_percents,
                strategy,
            } => self.create_group(frame, cpu_percents, *strategy, around),
            Step::RemoveGroup { group } => {
                if let Some(group) = take(&mut frame.groups, *group) {
                    self.remove_group(group, around);
                }
            }
            Step::AwaitGroup { group } => self.await_group(frame, *group, around),
            Step::Crash { status, tries } => {
                if !frame.is_driver() && frame.attempt() < *tries {
                    self.is_alive = false;
                    self.exit = Some(*status);
                    return Flow::Gone;
                }
            }
            Step::Raise { tries } => {
                if !frame.is_driver() && frame.attempt() < *tries {
                    return Flow::End(Ending::Raised);
                }
            }
            Step::ExitActor => {
                if let Some(lived) = &self.lived
                    && let Some(record) = around.witness.actors.get_mut(&lived.actor)
                {
                    record.has_exited = true;
                    frame.wants_exit = true;
                }
            }
            Step::Leave { says_goodbye } => {
                if frame.is_driver() {
                    if *says_goodbye {
                        self.disconnect(around);
                    }
                    self.is_alive = false;
                    self.exit = Some(0);
                    return Flow::Gone;
                }
            }
        }
        Flow::Next
    }

    /// Some programs could wait for each other in a circle: methods of actors, and tasks with handles
    /// that nobody gave them. They never wait without end.
    pub(super) fn patience(&self, timeout: Option<u64>, around: &Around) -> Option<u64> {
        if self.lived.is_some() || !self.is_driver() && around.has_back_doors {
            return Some(timeout.unwrap_or(50_000));
        }
        timeout
    }

    fn job_of(&self, frame: &Frame) -> JobId {
        frame.task().map_or(self.job, |task| task.job())
    }

    fn lower(
        &self,
        frame: &Frame,
        plan: usize,
        passed: &[Passed],
        is_actor_call: bool,
    ) -> Vec<CoreArgument> {
        let number = Bytes::copy_from_slice(&(plan as u32).to_le_bytes());
        let mut arguments = vec![CoreArgument::Value {
            data: number,
            contained: SmallVec::new(),
        }];
        let inside = |ids: SmallVec<[whipray_proto::ObjectId; 0]>| CoreArgument::Value {
            data: Bytes::from_static(b"inside"),
            contained: ids,
        };
        for passed in passed {
            match passed {
                Passed::Object(pick) => {
                    let Some(handle) = pick_of(&frame.objects, *pick) else {
                        continue;
                    };
                    // A call that waits holds up all later ones of this process to the same actor:
                    // those of programs that the object itself waits for must not be among them.
                    if is_actor_call && !frame.is_driver() && !handle.cell.is_ready() {
                        arguments.push(inside([handle.id()].into_iter().collect()));
                    } else {
                        arguments.push(CoreArgument::Object(handle.id()));
                    }
                }
                Passed::Inside(picks) => {
                    let ids = picks
                        .iter()
                        .filter_map(|pick| pick_of(&frame.objects, *pick));
                    arguments.push(inside(ids.map(Handle::id).collect()));
                }
                Passed::ActorInside(pick) => {
                    let actor = pick_of(&frame.actors, *pick);
                    if let Some(handle) = actor.and_then(|actor| actor.handle.as_ref()) {
                        arguments.push(inside([handle.id()].into_iter().collect()));
                    }
                }
            }
        }
        arguments
    }

    fn submit(
        &mut self,
        frame: &mut Frame,
        plan: usize,
        options: &TaskOptions,
        passed: &[Passed],
        around: &mut Around,
    ) {
        let job = self.job_of(frame);
        let resources = Resources::none()
            .with(CPU, f64::from(options.cpu_percent) / 100.0)
            .with(GPU, f64::from(options.gpu_percent) / 100.0)
            .with("gold", f64::from(options.gold));
        let mut class = SchedulingClass {
            resources,
            job,
            ..SchedulingClass::default()
        };
        if options.environment > 0 {
            class
                .environment
                .insert("E".to_owned(), options.environment.to_string());
        }
        let group = options.group.and_then(|pick| pick_of(&frame.groups, pick));
        let group = group.copied();
        class.strategy = strategy(group, options.placement, around);
        let bound_to = bound_to(class.strategy.as_deref());
        let mut template = template(plan, around);
        template.class = class;
        template.max_retries = options.max_retries;
        template.retry_any_exception = options.retries_exceptions;
        template.max_calls = options.max_calls;
        let task = self.next_task_id(ActorId::none_of(job));
        let record = TaskRecord {
            max_retries: options.max_retries,
            retries_exceptions: options.retries_exceptions,
            group,
            bound_to,
            ..self.record(frame)
        };
        around.witness.tasks.insert(task, record);
        let arguments = self.lower(frame, plan, passed, false);
        let parent = frame.task().unwrap_or_default();
        let call = Call {
            task,
            parent,
            arguments,
            keywords: Vec::new(),
            stream: None,
        };
        let cells = self.core.submit(&template, call, around.now);
        self.submitted(frame, cells, around);
    }

    fn record(&self, frame: &Frame) -> TaskRecord {
        TaskRecord {
            owner: self.index,
            parent: frame.task(),
            ..TaskRecord::default()
        }
    }

    fn submitted(&mut self, frame: &mut Frame, cells: Vec<Arc<ObjectCell>>, around: &mut Around) {
        if self.is_node_gone {
            self.core.on_node_gone();
        }
        self.commit(around);
        for cell in cells {
            around.witness.object_owners.insert(cell.id(), self.index);
            frame.objects.push(Handle { cell });
        }
    }

    fn create_actor(
        &mut self,
        frame: &mut Frame,
        plan: usize,
        options: &ActorOptions,
        passed: &[Passed],
        around: &mut Around,
    ) -> Flow {
        let job = self.job_of(frame);
        let mut bytes: [u8; 16] = around.random.bytes();
        bytes[12..].copy_from_slice(&job.to_array());
        let actor = ActorId::from_array(bytes);
        let creation = TaskSpec {
            task: self.next_task_id(actor),
            kind: TaskKind::ActorCreation as i32,
            function: function(plan),
            name: format!("Actor{plan}"),
            ..TaskSpec::default()
        };
        let group = options
            .group
            .and_then(|pick| pick_of(&frame.groups, pick))
            .copied();
        let strategy = strategy(group, options.placement, around);
        let bound_to = bound_to(strategy.as_deref());
        let spec = ActorSpec {
            actor,
            creation,
            job,
            class_name: format!("Actor{plan}"),
            name: if options.name == 0 {
                String::new()
            } else {
                name_of(options.name)
            },
            detached: options.detached,
            resources: Resources::none().with(CPU, f64::from(options.cpu_percent) / 100.0),
            placement: Resources::none().with(CPU, 1.0),
            max_restarts: options.max_restarts,
            max_task_retries: options.max_task_retries,
            max_concurrency: options.max_concurrency,
            strategy,
            ..ActorSpec::default()
        };
        around.witness.created(actor, self.index, options.clone());
        if let Some(record) = around.witness.actors.get_mut(&actor) {
            record.group = group;
            record.bound_to = bound_to;
        }
        let arguments = self.lower(frame, plan, passed, false);
        let request = self.open_request();
        let get_if_exists = options.get_if_exists;
        let cell = self
            .core
            .create_actor(request, spec, arguments, get_if_exists);
        around.witness.object_owners.insert(cell.id(), self.index);
        self.commit(around);
        let handle = Handle { cell };
        if options.name == 0 {
            self.answers.remove(&request);
            frame.actors.push(ActorRef {
                actor,
                handle: Some(handle),
            });
            return Flow::Next;
        }
        if !frame.is_driver() {
            self.set_blocked(true, around);
        }
        frame.stage = Stage::Asks {
            request,
            then: Then::NameActor { actor, handle },
        };
        Flow::Rest
    }

    fn call(
        &mut self,
        frame: &mut Frame,
        actor: Pick,
        plan: usize,
        passed: &[Passed],
        around: &mut Around,
    ) {
        let Some(target) = pick_of(&frame.actors, actor) else {
            return;
        };
        let (actor, is_weak) = (target.actor, target.handle.is_none());
        let Some(options) = around
            .witness
            .actors
            .get(&actor)
            .map(|it| it.options.clone())
        else {
            return;
        };
        let mut template = template(plan, around);
        template.method = "method".to_owned();
        template.max_retries = options.max_task_retries;
        template.retry_any_exception = options.retries_exceptions;
        let task = self.next_task_id(actor);
        let record = TaskRecord {
            actor: Some(actor),
            place: around.witness.next_place(actor, self.index),
            max_retries: options.max_task_retries,
            retries_exceptions: options.retries_exceptions,
            is_weak,
            ..self.record(frame)
        };
        around.witness.tasks.insert(task, record);
        let arguments = self.lower(frame, plan, passed, true);
        let parent = frame.task().unwrap_or_default();
        let call = Call {
            task,
            parent,
            arguments,
            keywords: Vec::new(),
            stream: None,
        };
        let cells = self.core.submit_actor(actor, &template, call, around.now);
        self.submitted(frame, cells, around);
    }

    /// The id of the next object that a program puts.
    pub(super) fn next_put_object(&mut self, frame: &Frame) -> ObjectId {
        let parent = frame
            .task()
            .map_or(ActorId::none_of(self.job), |task| task.actor());
        let task: TaskId = self.next_task_id(parent);
        task.return_id(PUT | 1)
    }

    fn put(&mut self, frame: &mut Frame, size: Size, inside: &[Pick], around: &mut Around) -> Flow {
        let object = self.next_put_object(frame);
        let inside: Vec<_> = inside
            .iter()
            .filter_map(|pick| pick_of(&frame.objects, *pick))
            .map(Handle::id)
            .collect();
        if let Size::Shared(size_bytes) = size {
            let tries = ROOM_TRIES;
            let then = Then::Put {
                object,
                size_bytes,
                inside,
                tries,
            };
            return self.create(frame, object, size_bytes, then, around);
        }
        let value = ObjectValue {
            contained: self.core.references(&inside),
            ..ObjectValue::inline(content(&object))
        };
        let cell = Arc::new(ObjectCell::ready(object, value));
        self.core.objects.insert_ours(cell.clone(), &inside);
        around.witness.object_owners.insert(object, self.index);
        frame.objects.push(Handle { cell });
        Flow::Next
    }

    fn cancel(
        &mut self,
        frame: &mut Frame,
        object: Pick,
        force: bool,
        recursive: bool,
        around: &mut Around,
    ) {
        let Some(object) = pick_of(&frame.objects, object).map(Handle::id) else {
            return;
        };
        let is_ours = self
            .core
            .objects
            .owner(&object)
            .is_some_and(|owner| owner.worker == self.address.worker);
        if object.index() == 0 || object.index() >= PUT {
            return;
        }
        let task = object.task();
        if let Some(record) = around.witness.tasks.get_mut(&task) {
            record.is_cancelled = true;
            record.cancels_children |= recursive;
        }
        if is_ours {
            self.core.cancel(task, force, recursive, around.now);
        } else {
            self.core.cancel_borrowed(&object, force, recursive);
        }
        self.commit(around);
    }

    /// The copy of an object of ours in the store is lost.
    fn lose(&mut self, frame: &mut Frame, object: Pick, around: &mut Around) {
        let Some(object) = pick_of(&frame.objects, object).map(Handle::id) else {
            return;
        };
        if around.witness.object_owners.get(&object) == Some(&self.index) {
            around.witness.lose(object);
            self.core.objects.drop_copies(&[object]);
            if self.own_views.iter().any(|(_, own)| *own == object) {
                self.own_views.retain(|(_, own)| *own != object);
                self.unview(object, around);
            }
            self.commit(around);
        }
    }

    fn free(&mut self, frame: &mut Frame, object: Pick, around: &mut Around) {
        let Some(handle) = pick_of(&frame.objects, object) else {
            return;
        };
        let object = handle.id();
        if handle.cell.is_ready() && around.witness.object_owners.get(&object) == Some(&self.index)
        {
            around.witness.freed.insert(object);
            self.core.objects.free(&[object]);
            if self.own_views.iter().any(|(_, own)| *own == object) {
                self.own_views.retain(|(_, own)| *own != object);
                self.unview(object, around);
            }
            self.commit(around);
        }
    }
}

/// What a frame holds that is not there yet.
fn missing(frame: &Frame) -> Vec<Arc<ObjectCell>> {
    let handles = frame
        .objects
        .iter()
        .filter(|handle| !handle.cell.is_ready());
    handles.map(|handle| handle.cell.clone()).collect()
}

fn take<T>(among: &mut Vec<T>, pick: Pick) -> Option<T> {
    if among.is_empty() {
        return None;
    }
    let index = pick as usize % among.len();
    Some(among.remove(index))
}

fn name_of(number: u32) -> String {
    format!("name-{number}")
}

fn function(plan: usize) -> FunctionId {
    let mut bytes = [3; 28];
    bytes[..8].copy_from_slice(&(plan as u64).to_le_bytes());
    FunctionId::from_array(bytes)
}

fn template(plan: usize, around: &Around) -> TaskTemplate {
    let results = around
        .scenario
        .plans
        .get(plan)
        .map_or(0, |plan| plan.results.len());
    TaskTemplate {
        function: function(plan),
        name: format!("plan{plan}"),
        method: String::new(),
        class: SchedulingClass::default(),
        num_returns: results as u32,
        max_retries: 0,
        retry_any_exception: false,
        retry_exceptions: Bytes::new(),
        concurrency_group: String::new(),
        max_calls: 0,
        max_pending_calls: 0,
        out_of_order: false,
        generator: None,
        class_slot: ClassSlot::default(),
    }
}

//! Calls on their way out: arguments that are there, and those that are waited for.

use std::sync::Arc;

use smallvec::SmallVec;
use whipray_proto::messages::actor::{CreateActor, CreationStage};
use whipray_proto::task::{ActorSpec, TaskKind};
use whipray_proto::{ActorId, Argument, ObjectId, ObjectValue, TaskId, TaskSpec};

use crate::cell::ObjectCell;
use crate::core::actors::Turn;
use crate::core::effect::Effect;
use crate::core::rebuilding::lost_of;
use crate::core::tasks::{Micros, Task};
use crate::core::{Call, Core, CoreArgument, Creation};
use crate::template::TaskTemplate;

impl Core {
    /// Submits a plain task; returns the cells of its results, each with one local reference.
    pub fn submit(
        &mut self,
        template: &TaskTemplate,
        call: Call,
        now: Micros,
    ) -> Vec<Arc<ObjectCell>> {
        let task = call.task;
        let class = match template.class_slot.get(self.epoch) {
            Some(class) => class,
            None => {
                let class = self.tasks.class(&template.class);
                template.class_slot.set(self.epoch, class);
                class
            }
        };
        let (cells, missing) = self.admit(template, TaskKind::Plain, class, call, now);
        if missing == 0 {
            self.start(task, now);
        }
        self.fail_if_over();
        cells
    }

    /// Submits a call of an actor.
    pub fn submit_actor(
        &mut self,
        actor: ActorId,
        template: &TaskTemplate,
        call: Call,
        now: Micros,
    ) -> Vec<Arc<ObjectCell>> {
        let task = call.task;
        let handle = actor.handle_object();
        let owner = self.objects.owner(&handle).map(|owner| owner.worker);
        self.actors.subscribe(actor, owner, &mut self.effects);
        let (cells, missing) = self.admit(template, TaskKind::ActorMethod, 0, call, now);
        // A call keeps its actor: the last handle may go while the call is under way.
        if let Some(entry) = self.tasks.tasks.get_mut(&task) {
            self.objects.retain(&handle);
            entry.held.push(handle);
        }
        let refused = if template.out_of_order && missing > 0 {
            self.actors.put_aside(&actor, task, Turn::Last)
        } else {
            self.actors.enqueue(&actor, task, Turn::Last)
        };
        if let Some(failure) = refused {
            self.fail(task, failure, now);
        } else if missing == 0 {
            self.fill_arguments(task);
            self.actors.pump(&actor, &self.tasks, &mut self.effects);
        }
        self.fail_if_over();
        cells
    }

    pub(super) fn admit(
        &mut self,
        template: &TaskTemplate,
        kind: TaskKind,
        class: u32,
        call: Call,
        now: Micros,
    ) -> (Vec<Arc<ObjectCell>>, u32) {
        let Call {
            task,
            parent,
            arguments,
            keywords,
            stream,
        } = call;
        let mut held = SmallVec::new();
        let mut missing = 0;
        let arguments = arguments
            .into_iter()
            .map(|argument| self.hold(argument, task, &mut held, &mut missing))
            .collect();
        let cells = (1..=template.num_returns)
            .map(|index| {
                let cell = Arc::new(ObjectCell::pending(task.return_id(index)));
                self.objects.insert_ours(cell.clone(), &[]);
                cell
            })
            .collect();
        let spec = TaskSpec {
            task,
            kind: kind as i32,
            function: template.function,
            name: template.name.clone(),
            method: template.method.clone(),
            arguments,
            keywords,
            num_returns: template.num_returns,
            attempt: 0,
            retry_any_exception: template.retry_any_exception,
            retry_exceptions: template.retry_exceptions.clone(),
            concurrency_group: template.concurrency_group.clone(),
            parent,
            generator: template.generator.clone(),
        };
        self.tasks.tasks.insert(
            task,
            Task {
                spec,
                class,
                retries_left: template.max_retries,
                retries_used: 0,
                max_calls: template.max_calls,
                missing,
                held,
                is_cancelled: false,
                is_forced: false,
                is_suspect: false,
                submitted: now,
                oom_retries_used: 0,
                stream,
            },
        );
        (cells, missing)
    }

    pub(super) fn hold(
        &mut self,
        argument: CoreArgument,
        task: TaskId,
        held: &mut SmallVec<[ObjectId; 2]>,
        missing: &mut u32,
    ) -> Argument {
        match argument {
            CoreArgument::Value { data, contained } => {
                let references = self.references(&contained);
                for object in contained {
                    self.objects.retain(&object);
                    held.push(object);
                }
                let value = ObjectValue {
                    data,
                    contained: references,
                    ..ObjectValue::default()
                };
                Argument {
                    value: Some(value),
                    ..Argument::default()
                }
            }
            CoreArgument::Object(object) => {
                self.objects.retain(&object);
                held.push(object);
                *missing += u32::from(self.objects.depend(&object, task, &mut self.effects));
                let owner = self.objects.owner(&object).cloned();
                Argument {
                    value: None,
                    object: Some(object),
                    owner,
                }
            }
        }
    }

    /// All objects of a task are there.
    pub(super) fn start(&mut self, task: TaskId, now: Micros) {
        let is_any_shared = self.fill_arguments(task);
        if self.misses_arguments(task) {
            return;
        }
        let Some(entry) = self.tasks.tasks.get(&task) else {
            return;
        };
        if entry.spec.kind() == TaskKind::ActorMethod {
            let actor = task.actor();
            self.actors.on_complete(&actor, task);
            self.actors.pump(&actor, &self.tasks, &mut self.effects);
        } else {
            let mut class = entry.class;
            if is_any_shared {
                class = self.choose_class(task);
            }
            self.tasks.enqueue(task, false);
            self.tasks
                .pump(class, &self.durations, now, &mut self.effects);
        }
    }

    /// Puts the values of objects into the places of the arguments that they are; whether any of
    /// them lies in shared memory.
    pub(super) fn fill_arguments(&mut self, task: TaskId) -> bool {
        let Some(entry) = self.tasks.tasks.get_mut(&task) else {
            return false;
        };
        let mut arguments = std::mem::take(&mut entry.spec.arguments);
        let is_any_shared = self.fill(&mut arguments);
        if let Some(entry) = self.tasks.tasks.get_mut(&task) {
            entry.spec.arguments = arguments;
        }
        is_any_shared
    }

    pub(super) fn fill(&self, arguments: &mut [Argument]) -> bool {
        let mut is_any_shared = false;
        for argument in arguments {
            let Some(object) = &argument.object else {
                continue;
            };
            if argument.value.is_none() {
                argument.value = self.objects.cell(object).and_then(|cell| cell.value());
            }
            let value = argument.value.as_ref();
            is_any_shared |= value.is_some_and(|value| value.shared.is_some());
        }
        is_any_shared
    }

    pub(super) fn on_dependencies(&mut self, waiting: Vec<TaskId>, now: Micros) {
        for task in waiting {
            if let Some(creation) = self.creations.get_mut(&task) {
                creation.missing = creation.missing.saturating_sub(1);
                if creation.missing == 0 {
                    self.complete_creation(task);
                }
                continue;
            }
            let Some(entry) = self.tasks.tasks.get_mut(&task) else {
                continue;
            };
            entry.missing = entry.missing.saturating_sub(1);
            if entry.missing == 0 {
                self.start(task, now);
            }
        }
    }

    /// Registers an actor of ours; its handle object has one local reference.
    pub fn create_actor(
        &mut self,
        request: u64,
        mut spec: ActorSpec,
        arguments: Vec<CoreArgument>,
        get_if_exists: bool,
    ) -> Arc<ObjectCell> {
        let actor = spec.actor;
        let cell = Arc::new(ObjectCell::pending(actor.handle_object()));
        self.objects.insert_ours(cell.clone(), &[]);
        self.actors.ensure(actor);
        let mut held = SmallVec::new();
        let mut missing = 0;
        spec.creation.arguments = arguments
            .into_iter()
            .map(|argument| self.hold(argument, spec.creation.task, &mut held, &mut missing))
            .collect();
        spec.owner = self.me.clone();
        self.creation_held.insert(actor, held);
        self.fill(&mut spec.creation.arguments);
        let stage = if missing == 0 {
            CreationStage::Whole
        } else {
            CreationStage::Registered
        };
        let mut said = spec.clone();
        if missing > 0 {
            said.creation.arguments.clear();
            self.creations
                .insert(spec.creation.task, Creation { spec, missing });
        }
        self.effects.push(Effect::ToNode(
            CreateActor {
                request,
                spec: said,
                get_if_exists,
                stage: stage as i32,
            }
            .into(),
        ));
        cell
    }

    /// All objects that a constructor takes were there: it is begun, unless one was lost meanwhile.
    pub(super) fn complete_creation(&mut self, task: TaskId) {
        let Some(Creation { mut spec, .. }) = self.creations.remove(&task) else {
            return;
        };
        self.fill(&mut spec.creation.arguments);
        let missing = self.depend_again(task, &lost_of(&spec.creation.arguments));
        if missing > 0 {
            self.creations.insert(task, Creation { spec, missing });
            return;
        }
        self.effects.push(Effect::ToNode(
            CreateActor {
                spec,
                stage: CreationStage::Complete as i32,
                ..CreateActor::default()
            }
            .into(),
        ));
    }

    /// The actor will not be started again: what its constructor took may go.
    pub(super) fn release_creation(&mut self, actor: &ActorId) {
        self.creations
            .retain(|_, creation| creation.spec.actor != *actor);
        for object in self.creation_held.remove(actor).unwrap_or_default() {
            self.objects.release(&object, &mut self.effects);
        }
    }

    /// The control did not take an actor of ours: another one has its name.
    pub fn forget_actor(&mut self, actor: ActorId) {
        self.actors.forget(&actor);
        self.release_creation(&actor);
    }
}

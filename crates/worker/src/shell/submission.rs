//! Tasks and actors, as their owner submits them.

use std::sync::Arc;

use smallvec::SmallVec;
use whipray_proto::failure::{Failure, FailureKind};
use whipray_proto::task::ActorSpec;
use whipray_proto::{ActorId, Message, TaskId, WorkerAddress};

use crate::core::streams::Stream;
use crate::core::{Call, CoreArgument};
use crate::handle::{ActorHandle, ObjectHandle};
use crate::shell::blocked::Wanted;
use crate::shell::questions::node_gone;
use crate::shell::runtime::{ArgumentInput, CreatedActor, Runtime};
use crate::template::TaskTemplate;

/// One call that has its number.
pub(crate) struct Submission {
    pub task: TaskId,
    /// The task that submits it.
    pub parent: TaskId,
    pub arguments: Vec<ArgumentInput>,
    /// Names of the last arguments.
    pub keywords: Vec<String>,
    /// Where its results come one by one.
    pub stream: Option<Arc<Stream>>,
}

impl Runtime {
    /// Submits a plain task; one handle for each of its results.
    pub fn submit(
        &self,
        template: &Arc<TaskTemplate>,
        parent: TaskId,
        arguments: Vec<ArgumentInput>,
        keywords: Vec<String>,
    ) -> Vec<ObjectHandle> {
        let task = self.next_task_id(ActorId::none_of(self.job()));
        let submission = Submission {
            task,
            parent,
            arguments,
            keywords,
            stream: None,
        };
        self.submit_task(template, submission)
    }

    pub(crate) fn submit_task(
        &self,
        template: &TaskTemplate,
        submission: Submission,
    ) -> Vec<ObjectHandle> {
        let (call, kept) = submission.lower();
        let mut state = self.state.lock();
        let now = state.now();
        let cells = state.core.submit(template, call, now);
        self.commit(state);
        // The core counts its own references; these may go now that the lock is released.
        drop(kept);
        cells.into_iter().map(|cell| self.adopt(cell)).collect()
    }

    /// Submits a call of an actor.
    ///
    /// # Errors
    /// `PendingCallsLimit`, where as many calls are pending as may be.
    pub fn submit_actor(
        &self,
        actor: &ActorHandle,
        template: &Arc<TaskTemplate>,
        parent: TaskId,
        arguments: Vec<ArgumentInput>,
        keywords: Vec<String>,
    ) -> Result<Vec<ObjectHandle>, Failure> {
        let task = self.next_task_id(actor.actor());
        let submission = Submission {
            task,
            parent,
            arguments,
            keywords,
            stream: None,
        };
        self.submit_call(actor, template, submission)
    }

    pub(crate) fn submit_call(
        &self,
        actor: &ActorHandle,
        template: &TaskTemplate,
        submission: Submission,
    ) -> Result<Vec<ObjectHandle>, Failure> {
        let id = actor.actor();
        let (call, kept) = submission.lower();
        let mut state = self.state.lock();
        let limit = template.max_pending_calls as usize;
        if limit > 0 && state.core.actors.pending_calls(&id) >= limit {
            drop(state);
            return Err(Failure::new(
                FailureKind::PendingCallsLimit,
                id.to_hex(),
                format!(
                    "The task {} could not be submitted to the actor {id} because {limit} calls \
                     of this process are pending. Wait for some of them, or raise the \
                     `max_pending_calls` of the actor.",
                    template.name
                ),
            ));
        }
        let now = state.now();
        let cells = state.core.submit_actor(id, template, call, now);
        self.commit(state);
        drop(kept);
        Ok(cells.into_iter().map(|cell| self.adopt(cell)).collect())
    }

    /// Creates an actor. Blocks only where it has a name, until the name is granted.
    ///
    /// # Errors
    /// The name is taken (kind `Unspecified`, with the sentence), or the node is gone.
    pub fn create_actor(
        &self,
        spec: ActorSpec,
        arguments: Vec<ArgumentInput>,
        get_if_exists: bool,
    ) -> Result<CreatedActor, Failure> {
        let actor = spec.actor;
        let parent = spec.creation.parent;
        let is_named = !spec.name.is_empty();
        let (arguments, kept) = lower(arguments);
        let mut state = self.state.lock();
        let (number, slot) = state.requests.open();
        let cell = state
            .core
            .create_actor(number, spec, arguments, get_if_exists);
        if !is_named {
            state.requests.close(number);
        }
        self.commit(state);
        drop(kept);
        let handle = ActorHandle::new(actor, Some(self.adopt(cell)));
        if !is_named {
            return Ok(CreatedActor::New(handle));
        }
        // A task that waits here gives its CPU back: the constructor's objects may need it.
        let wanted = Wanted::something(self.is_worker.then_some(parent));
        self.wait_in_task(&|| slot.is_answered(), None, &wanted, &mut || false);
        let Some(Message::ActorCreated(created)) = slot.take() else {
            return Err(node_gone());
        };
        if let Some(existing) = created.existing {
            self.forget_actor(actor);
            let weak = ActorHandle::new(existing.actor, None);
            return Ok(CreatedActor::Existing(Box::new(existing), weak));
        }
        if !created.error.is_empty() {
            self.forget_actor(actor);
            return Err(Failure::new(
                FailureKind::Unspecified,
                actor.to_hex(),
                created.error,
            ));
        }
        Ok(CreatedActor::New(handle))
    }

    fn forget_actor(&self, actor: ActorId) {
        let mut state = self.state.lock();
        state.core.forget_actor(actor);
        self.commit(state);
    }

    /// The counted reference to an actor whose handle arrived; a weak one without an owner.
    pub fn actor_handle(&self, actor: ActorId, owner: Option<&WorkerAddress>) -> ActorHandle {
        let object = owner.map(|owner| self.handle(actor.handle_object(), owner));
        ActorHandle::new(actor, object)
    }

    /// Asks for the end of an actor's process.
    pub fn kill_actor(&self, actor: ActorId, no_restart: bool) {
        let mut state = self.state.lock();
        state.core.kill_actor(actor, no_restart);
        self.commit(state);
    }
}

impl Submission {
    /// The call as the core takes it, and what keeps its objects until the core has counted them.
    fn lower(self) -> (Call, SmallVec<[ObjectHandle; 4]>) {
        let (arguments, kept) = lower(self.arguments);
        let call = Call {
            task: self.task,
            parent: self.parent,
            arguments,
            keywords: self.keywords,
            stream: self.stream,
        };
        (call, kept)
    }
}

/// The core takes ids; the handles live on until the core has counted them.
fn lower(arguments: Vec<ArgumentInput>) -> (Vec<CoreArgument>, SmallVec<[ObjectHandle; 4]>) {
    let mut kept = SmallVec::new();
    let arguments = arguments
        .into_iter()
        .map(|argument| match argument {
            ArgumentInput::Value { data, contained } => {
                let ids = contained.iter().map(ObjectHandle::id).collect();
                kept.extend(contained);
                CoreArgument::Value {
                    data,
                    contained: ids,
                }
            }
            ArgumentInput::Object(handle) => {
                let id = handle.id();
                kept.push(handle);
                CoreArgument::Object(id)
            }
        })
        .collect();
    (arguments, kept)
}

//! Questions to the node that a thread waits for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use whipray_proto::Message;

/// Where an answer is put.
#[derive(Default)]
pub(crate) struct RequestSlot {
    is_answered: AtomicBool,
    answer: Mutex<Option<Message>>,
}

impl RequestSlot {
    pub fn is_answered(&self) -> bool {
        self.is_answered.load(Ordering::Acquire)
    }

    pub fn take(&self) -> Option<Message> {
        self.answer.lock().take()
    }

    fn put(&self, answer: Message) {
        *self.answer.lock() = Some(answer);
        self.is_answered.store(true, Ordering::Release);
    }
}

/// All questions without an answer yet.
#[derive(Default)]
pub(crate) struct Requests {
    last: u64,
    waiting: FxHashMap<u64, Arc<RequestSlot>>,
}

impl Requests {
    /// A new question's number, and where its answer will be.
    pub fn open(&mut self) -> (u64, Arc<RequestSlot>) {
        self.last += 1;
        let slot = Arc::new(RequestSlot::default());
        self.waiting.insert(self.last, slot.clone());
        (self.last, slot)
    }

    /// Nobody waits for this one any more.
    pub fn close(&mut self, request: u64) {
        self.waiting.remove(&request);
    }

    /// The number of the question that a message answers, if it is an answer.
    fn number(message: &Message) -> Option<u64> {
        match message {
            Message::ObjectCreated(answer) => Some(answer.request),
            Message::ObjectsPinned(answer) => Some(answer.request),
            Message::ActorCreated(answer) => Some(answer.request),
            Message::NamedActor(answer) => Some(answer.request),
            Message::NamedActors(answer) => Some(answer.request),
            Message::KeyValueReply(answer) => Some(answer.request),
            Message::StatusReply(answer) => Some(answer.request),
            Message::LogsFlushed(answer) => Some(answer.request),
            Message::JobReply(answer) => Some(answer.request),
            Message::GroupCreated(answer) => Some(answer.request),
            Message::Groups(answer) => Some(answer.request),
            Message::InquiryAnswered(answer) => Some(answer.request),
            _ => None,
        }
    }

    /// Delivers an answer; gives back a message that is none, and pins that nobody waits for any
    /// more.
    pub fn deliver(&mut self, message: Message) -> Option<Message> {
        let Some(number) = Self::number(&message) else {
            return Some(message);
        };
        match (self.waiting.remove(&number), message) {
            (Some(slot), message) => slot.put(message),
            (None, message @ Message::ObjectsPinned(_)) => return Some(message),
            (None, _) => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use whipray_proto::messages::cluster::LogsFlushed;
    use whipray_proto::messages::object::ObjectsPinned;

    #[test]
    fn pins_that_nobody_waits_for_come_back() {
        let mut requests = Requests::default();
        let (request, slot) = requests.open();
        let pinned = || {
            ObjectsPinned {
                request,
                ..ObjectsPinned::default()
            }
            .into()
        };
        assert_eq!(requests.deliver(pinned()), None);
        assert!(slot.is_answered());
        let (late, _) = requests.open();
        requests.close(late);
        assert_eq!(requests.deliver(pinned()), Some(pinned()));
        let flushed = LogsFlushed { request: late };
        assert_eq!(requests.deliver(flushed.into()), None, "others are nothing");
    }
}

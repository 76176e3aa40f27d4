//! Waiting: the thread that waits for an answer reads the sockets itself.
//!
//! One thread at a time leads: it sleeps in the poller and handles what comes. Others that wait
//! follow: they sleep on a condition that the leader signals. While nobody waits, the background
//! thread leads (see `background`). So the answer to a synchronous call is read by the thread that
//! wants it, without a hand-over between threads.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use whipray_net::ReadyEvent;

use crate::cell::Waiter;
use crate::shell::runtime::{Runtime, WaitOutcome};
use crate::shell::spin::Spin;
use crate::shell::state::{Notices, State};

/// How often a waiting thread looks for signals. One that interrupts a system call is seen at once;
/// this is for the one that comes just before.
const INTERRUPT_CHECK: Duration = Duration::from_millis(100);

/// Who leads, who follows.
#[derive(Default)]
pub(crate) struct Lead {
    pub leader: Mutex<()>,
    /// Counts every time that somebody took the lead.
    pub turns: AtomicUsize,
    /// The background thread sleeps in the poller.
    pub is_background: AtomicBool,
    pub spin: Spin,
    /// Threads that wait and do not lead.
    followers: AtomicUsize,
    gate: Mutex<()>,
    progress: Condvar,
}

impl Lead {
    /// Whether a thread wants the lead.
    pub fn is_wanted(&self) -> bool {
        self.followers.load(Ordering::SeqCst) > 0
    }

    /// Wakes those who follow: something happened, or the lead is free.
    pub fn signal(&self) {
        if self.is_wanted() {
            let _gate = self.gate.lock();
            self.progress.notify_all();
        }
    }
}

impl Runtime {
    /// Waits until `is_done`, driving the sockets meanwhile.
    pub(crate) fn wait_until(
        &self,
        is_done: &dyn Fn() -> bool,
        timeout: Option<Duration>,
        interrupt: &mut dyn FnMut() -> bool,
    ) -> WaitOutcome {
        self.wait_looking(is_done, timeout, false, interrupt)
    }

    /// The same; with `looks` it looks for a moment before it sleeps, as for a single answer. Of
    /// many, more are read at once by who sleeps.
    pub(crate) fn wait_looking(
        &self,
        is_done: &dyn Fn() -> bool,
        timeout: Option<Duration>,
        looks: bool,
        interrupt: &mut dyn FnMut() -> bool,
    ) -> WaitOutcome {
        self.flush();
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            if is_done() {
                return WaitOutcome::Ready;
            }
            if self.is_over() {
                return WaitOutcome::Disconnected;
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return WaitOutcome::TimedOut;
            }
            let outcome = match self.lead.leader.try_lock() {
                Some(leader) => {
                    let outcome = self.lead_until(is_done, deadline, looks, interrupt);
                    drop(leader);
                    self.bench.on_leave();
                    outcome
                }
                None => self.follow(is_done, deadline, interrupt),
            };
            if let Some(outcome) = outcome {
                return outcome;
            }
        }
    }

    fn lead_until(
        &self,
        is_done: &dyn Fn() -> bool,
        deadline: Option<Instant>,
        looks: bool,
        interrupt: &mut dyn FnMut() -> bool,
    ) -> Option<WaitOutcome> {
        self.lead.turns.fetch_add(1, Ordering::Relaxed);
        let mut ready = Vec::new();
        let outcome = loop {
            if is_done() {
                break WaitOutcome::Ready;
            }
            if self.is_over() {
                break WaitOutcome::Disconnected;
            }
            let mut timeout = self.interrupt_check().min(self.time_left());
            if let Some(deadline) = deadline {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break WaitOutcome::TimedOut;
                }
                timeout = timeout.min(left);
            }
            ready.clear();
            let is_there = || {
                let looked = self.poller.wait(Some(Duration::ZERO), &mut ready);
                looked.is_ok() && !ready.is_empty()
            };
            if !(looks && self.lead.spin.look(is_there))
                && self.poller.wait(Some(timeout), &mut ready).is_err()
            {
                self.abandon();
                break WaitOutcome::Disconnected;
            }
            self.on_ready(&ready);
            // A task that this very thread waits for may have been cancelled by what it has read.
            let is_signalled = self.is_signalled.load(Ordering::Relaxed)
                && self.is_signalled.swap(false, Ordering::Relaxed);
            if (ready.is_empty() || is_signalled) && interrupt() {
                break WaitOutcome::Interrupted;
            }
        };
        Some(outcome)
    }

    fn follow(
        &self,
        is_done: &dyn Fn() -> bool,
        deadline: Option<Instant>,
        interrupt: &mut dyn FnMut() -> bool,
    ) -> Option<WaitOutcome> {
        let mut gate = self.lead.gate.lock();
        self.lead.followers.fetch_add(1, Ordering::SeqCst);
        if self.lead.is_background.load(Ordering::SeqCst) {
            self.waker.wake();
        }
        if !is_done() {
            let left = deadline.map_or(INTERRUPT_CHECK, |deadline| {
                deadline
                    .saturating_duration_since(Instant::now())
                    .min(INTERRUPT_CHECK)
            });
            // The lead may have become free between the attempt to take it and here.
            if self.lead.leader.is_locked() {
                self.lead.progress.wait_for(&mut gate, left);
            }
        }
        self.lead.followers.fetch_sub(1, Ordering::SeqCst);
        drop(gate);
        interrupt().then_some(WaitOutcome::Interrupted)
    }

    /// An idle worker has nothing that a signal could interrupt: it looks less often, so that a
    /// thousand of them cost nothing.
    fn interrupt_check(&self) -> Duration {
        if self.is_worker {
            INTERRUPT_CHECK * 20
        } else {
            INTERRUPT_CHECK
        }
    }

    /// The time until the core has something to do.
    pub(crate) fn time_left(&self) -> Duration {
        let state = self.state.lock();
        match state.deadline() {
            Some(deadline) => Duration::from_micros(deadline.saturating_sub(state.now())),
            None => Duration::from_secs(3600),
        }
    }

    /// Handles what the poller found, and everything that follows from it. Where an event loop takes
    /// the work, it is told: it may have slept through what this thread has read.
    pub(crate) fn on_ready(&self, ready: &[ReadyEvent]) {
        self.handle_ready(ready);
        if self.is_driven_outside() && self.has_work.load(Ordering::Acquire) {
            self.waker.wake();
        }
    }

    /// The same for the event loop itself.
    pub(crate) fn handle_ready(&self, ready: &[ReadyEvent]) {
        let mut state = self.state.lock();
        state.on_ready(ready, &self.poller, &self.waker);
        state.settle(&self.poller);
        state.links.flush(&self.poller);
        self.has_work.store(state.has_work(), Ordering::Release);
        if state.is_node_gone {
            self.end();
        }
        self.unlock(state);
    }

    /// Releases the lock and tells everybody what is to be told.
    pub(crate) fn unlock(&self, mut state: MutexGuard<'_, State>) {
        if state.notices.is_empty() {
            drop(state);
        } else {
            let notices = std::mem::take(&mut state.notices);
            drop(state);
            self.tell(notices);
        }
        self.lead.signal();
    }

    fn tell(&self, notices: Notices) {
        for waiter in notices.waiters {
            match waiter {
                Waiter::Count(set) => set.count_down(),
                Waiter::Callback(callback) => {
                    self.callbacks.fetch_sub(1, Ordering::Relaxed);
                    callback();
                }
            }
        }
        if !notices.events.is_empty() {
            self.events.push(notices.events);
        }
        if !notices.interrupts.is_empty() {
            let hook = self.cancel_hook.lock().clone();
            if let Some(hook) = hook {
                self.is_signalled.store(true, Ordering::Relaxed);
                for task in notices.interrupts {
                    hook(task);
                }
            }
        }
    }
}

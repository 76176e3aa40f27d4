//! The background thread: it serves the sockets while nobody waits, and writes what was deferred.
//!
//! It has three ways to rest, so that it costs nothing when nothing happens and does not compete
//! with a busy thread when much does:
//!
//! - *leading*: asleep in the poller, because nobody else is. Woken by sockets, by deferred output,
//!   and by threads that want the lead.
//! - *ticking*: while other threads take the lead in turns, or submit: asleep for a millisecond,
//!   then it does what is due. So answers and output gather, and no call pays for a wake-up.
//! - *parked*: another thread has been leading for long. Woken when that one leaves the lead.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::shell::runtime::Runtime;

const TICK: Duration = Duration::from_millis(1);

/// Ticks without any activity after which the thread leads or parks.
const QUIET_TICKS: u32 = 16;

/// The longest rest: a lost wake-up costs this much at most.
const PARK: Duration = Duration::from_secs(1);

/// How the background thread rests.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Rest {
    #[default]
    Running,
    Ticking,
    Parked,
}

/// Where the background thread rests while it does not lead.
#[derive(Default)]
pub(crate) struct Bench {
    rest: Mutex<Rest>,
    wake: Condvar,
    is_parked: AtomicBool,
}

impl Bench {
    /// A thread leaves the lead, which the background thread may wait for.
    pub fn on_leave(&self) {
        if self.is_parked.load(Ordering::SeqCst) {
            self.wake_parked();
        }
    }

    /// Ends a rest without end.
    pub fn wake_parked(&self) {
        let rest = self.rest.lock();
        if *rest == Rest::Parked {
            self.wake.notify_all();
        }
    }

    /// Ends any rest.
    pub fn wake(&self) {
        let _rest = self.rest.lock();
        self.wake.notify_all();
    }

    fn sleep(&self, kind: Rest, duration: Duration, is_needed: impl Fn() -> bool) {
        let mut rest = self.rest.lock();
        // Whoever needs the thread says so first and looks how it rests then; so one of the two
        // sees the other.
        self.is_parked.store(kind == Rest::Parked, Ordering::SeqCst);
        if kind == Rest::Ticking || !is_needed() {
            *rest = kind;
            self.wake.wait_for(&mut rest, duration);
            *rest = Rest::Running;
        }
        self.is_parked.store(false, Ordering::SeqCst);
    }
}

impl Runtime {
    /// Whether another thread, or an event loop, reads the sockets.
    fn is_led(&self) -> bool {
        self.lead.leader.is_locked() || self.is_driven_outside()
    }
}

/// The body of the background thread.
pub(crate) fn run(runtime: &Arc<Runtime>) {
    let mut last_turns = usize::MAX;
    let mut quiet = 0;
    let mut ready = Vec::new();
    while !runtime.is_stopping() {
        runtime.say_metrics_when_due();
        let turns = runtime.lead.turns.load(Ordering::Relaxed);
        let was_active = turns != last_turns || runtime.take_activity();
        last_turns = turns;
        quiet = if was_active { 0 } else { quiet + 1 };
        let wants_answers = runtime.callbacks.load(Ordering::Relaxed) > 0;
        let is_led = runtime.is_led();
        if is_led {
            // A leader writes what it defers itself; other threads may defer as well.
            if quiet > QUIET_TICKS {
                runtime.bench.sleep(Rest::Parked, PARK, || {
                    runtime.is_needed() || !runtime.is_led()
                });
            } else {
                runtime.bench.sleep(Rest::Ticking, TICK, || false);
            }
            runtime.flush();
            if runtime.is_neglected() {
                runtime.poll_once(&mut ready);
            }
            continue;
        }
        if quiet <= QUIET_TICKS && !wants_answers {
            runtime.bench.sleep(Rest::Ticking, TICK, || false);
            if let Some(_leader) = runtime.lead.leader.try_lock() {
                runtime.poll_once(&mut ready);
            } else {
                runtime.flush();
            }
            continue;
        }
        lead(runtime, &mut ready);
    }
}

/// Sleeps in the poller until another thread wants the lead, or submits.
fn lead(runtime: &Arc<Runtime>, ready: &mut Vec<whipray_net::ReadyEvent>) {
    let Some(_leader) = runtime.lead.leader.try_lock() else {
        return;
    };
    runtime.lead.is_background.store(true, Ordering::SeqCst);
    while !runtime.is_stopping() && !runtime.lead.is_wanted() {
        ready.clear();
        let timeout = PARK.min(runtime.time_left());
        if runtime.poller.wait(Some(timeout), ready).is_err() {
            runtime.abandon();
            break;
        }
        runtime.on_ready(ready);
        runtime.say_metrics_when_due();
        if runtime.is_over() || runtime.take_activity() || runtime.is_driven_outside() {
            break;
        }
    }
    runtime.lead.is_background.store(false, Ordering::SeqCst);
    drop(_leader);
    runtime.lead.signal();
    if runtime.is_over() && !runtime.is_stopping() {
        // Nothing will come any more; only the end of the runtime is awaited.
        runtime
            .bench
            .sleep(Rest::Parked, PARK, || runtime.is_needed());
    }
}

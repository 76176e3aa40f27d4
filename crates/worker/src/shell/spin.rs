//! Looking for a moment before sleeping.
//!
//! To sleep and to be woken costs more processor time than to look for the few microseconds in which
//! the answer of an idle worker comes, and several times the waiting. That holds while a core is free
//! for it: one that looks where others want to run takes their time. So it lets others run between
//! two looks, and where these take long, and there is nothing yet when they are through, it sleeps
//! at once and does not look again for a number of waits, which doubles each time.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long it looks: the round trip of a call to an idle worker, with some room.
const LOOK: Duration = Duration::from_micros(20);

/// Others that run longer than this between two looks are in need of the core.
const CROWDED: Duration = Duration::from_micros(3);

/// Waits without a look after one that was in vain, and where the machine is crowded.
const FIRST_PAUSE: u32 = 1;
const CROWDED_PAUSE: u32 = 64;
const LONGEST_PAUSE: u32 = 4096;

/// What came of a look.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Found,
    /// Nothing came in time.
    InVain,
    /// Others need the core.
    Crowded,
}

/// Whether the next wait begins with a look. Used by the thread that leads.
#[derive(Default)]
pub(crate) struct Spin {
    /// Waits that are left before the next look.
    pause: AtomicU32,
    /// The pause after the next one that is of no use; zero after a success.
    next_pause: AtomicU32,
}

impl Spin {
    /// Looks, where that is worth it; whether `is_there` has said so.
    pub fn look(&self, mut is_there: impl FnMut() -> bool) -> bool {
        let pause = self.pause.load(Ordering::Relaxed);
        if pause > 0 {
            self.pause.store(pause - 1, Ordering::Relaxed);
            return false;
        }
        let outcome = look(&mut is_there);
        self.learn(outcome);
        outcome == Outcome::Found
    }

    fn learn(&self, outcome: Outcome) {
        let next = self.next_pause.load(Ordering::Relaxed);
        let pause = match outcome {
            Outcome::Found => 0,
            Outcome::InVain => next.max(FIRST_PAUSE),
            Outcome::Crowded => next.max(CROWDED_PAUSE),
        };
        self.pause.store(pause, Ordering::Relaxed);
        let next = (2 * pause).min(LONGEST_PAUSE);
        self.next_pause.store(next, Ordering::Relaxed);
    }
}

fn look(is_there: &mut impl FnMut() -> bool) -> Outcome {
    let started = Instant::now();
    let mut before = started;
    loop {
        if is_there() {
            return Outcome::Found;
        }
        std::thread::yield_now();
        let now = Instant::now();
        if now - before > CROWDED {
            // Perhaps it was our worker that ran.
            return match is_there() {
                true => Outcome::Found,
                false => Outcome::Crowded,
            };
        }
        if now - started > LOOK {
            return Outcome::InVain;
        }
        before = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits_until_the_next_look(spin: &Spin) -> u32 {
        let mut waits = 0;
        let mut looked = false;
        while !looked {
            spin.look(|| {
                looked = true;
                true
            });
            waits += 1;
        }
        waits
    }

    #[test]
    fn a_success_is_followed_by_a_look() {
        let spin = Spin::default();
        assert!(spin.look(|| true));
        assert_eq!(waits_until_the_next_look(&spin), 1);
    }

    #[test]
    fn looks_in_vain_become_rare_and_one_success_makes_them_frequent() {
        let spin = Spin::default();
        spin.learn(Outcome::InVain);
        assert_eq!(waits_until_the_next_look(&spin), 2);
        for _ in 0..20 {
            spin.learn(Outcome::InVain);
        }
        assert_eq!(waits_until_the_next_look(&spin), LONGEST_PAUSE + 1);
        assert_eq!(waits_until_the_next_look(&spin), 1);
    }

    #[test]
    fn a_crowded_machine_is_left_alone_for_longer() {
        let spin = Spin::default();
        spin.learn(Outcome::Crowded);
        assert_eq!(waits_until_the_next_look(&spin), CROWDED_PAUSE + 1);
    }
}

//! Who refers to an object from outside of its owner: accounts at the owner, and what a borrower
//! remembers to take back.
//!
//! A borrower is registered by whoever hands it the reference: the owner itself, or another process,
//! its *registrar*. The registrar's word and the borrower's goodbye travel on different connections,
//! so that an account may be below zero for a while. It is kept for each borrower *and* registrar,
//! and the borrower says whose registrations it takes back. So a goodbye never cancels out the word
//! of somebody else, and what never comes is known exactly: once a registrar is dead and all that it
//! had written was read, an account of its below zero is void. No clock decides.
//!
//! What a dead registrar *did* say may have been meant for a value that it never sent. So the owner
//! asks the borrower, which takes back what did not reach it ([`Accounts::by_dead`]).
//!
//! A borrower whose registrar dies cannot know whether it was registered, and registers itself; the
//! owner counts both, and gets both back.

use smallvec::SmallVec;
use whipray_proto::WorkerId;
use whipray_proto::messages::object::Registrations;

use crate::core::party::Party;

#[derive(Clone, Copy, Debug)]
struct Account {
    borrower: WorkerId,
    registrar: WorkerId,
    /// Registrations that came, less those that were taken back.
    count: i64,
}

/// The borrowers of one object of ours. Most objects have none, and there are many: no room inside.
#[derive(Default)]
pub(crate) struct Accounts(SmallVec<[Account; 0]>);

impl Accounts {
    /// Whether nobody refers to the object, and no word about it is under way.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many processes refer to the object, as far as is known.
    pub fn borrowers(&self) -> u32 {
        self.0.iter().filter(|account| account.count > 0).count() as u32
    }

    /// Changes the account of a borrower with a registrar, and returns what is on it then.
    pub fn change(&mut self, borrower: WorkerId, registrar: WorkerId, change: i64) -> i64 {
        let is_its =
            |account: &Account| account.borrower == borrower && account.registrar == registrar;
        let Some(position) = self.0.iter().position(is_its) else {
            if change != 0 {
                self.0.push(Account {
                    borrower,
                    registrar,
                    count: change,
                });
            }
            return change;
        };
        let account = &mut self.0[position];
        account.count += change;
        let count = account.count;
        if count == 0 {
            self.0.swap_remove(position);
        }
        count
    }

    /// The borrowers that a dead process had registered, and how often.
    pub fn by_dead<'a>(
        &'a self,
        registrar: &'a WorkerId,
    ) -> impl Iterator<Item = (WorkerId, u32)> + 'a {
        let its = self
            .0
            .iter()
            .filter(|account| account.registrar == *registrar);
        its.map(|account| (account.borrower, u32::try_from(account.count).unwrap_or(0)))
    }

    /// A process is dead, and all that it had written was read: it refers to nothing, and what it
    /// was to register never comes. Returns whether that changed anything.
    pub fn on_dead(&mut self, worker: &WorkerId) -> bool {
        let before = self.0.len();
        self.0.retain(|account| {
            let is_void = account.registrar == *worker && account.count < 0;
            account.borrower != *worker && !is_void
        });
        self.0.len() != before
    }
}

impl std::fmt::Debug for Accounts {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lines = self.0.iter().map(|account| {
            (
                account.borrower.to_hex()[..8].to_owned(),
                account.registrar.to_hex()[..8].to_owned(),
                account.count,
            )
        });
        formatter.debug_list().entries(lines).finish()
    }
}

/// Who registered us at the owner of an object that we borrow, and how often.
#[derive(Default, Debug)]
pub(crate) struct Registered {
    by_owner: u32,
    by_others: SmallVec<[(Party, u32); 0]>,
}

impl Registered {
    /// Somebody registers us, or has done so.
    pub fn add(&mut self, registrar: Party, owner: &WorkerId) {
        if registrar.worker == *owner {
            self.by_owner += 1;
            return;
        }
        let mut by_others = self.by_others.iter_mut();
        match by_others.find(|(by, _)| by.worker == registrar.worker) {
            Some((_, count)) => *count += 1,
            None => self.by_others.push((registrar, 1)),
        }
    }

    /// Whether this process was to register us.
    pub fn is_by(&self, registrar: &WorkerId) -> bool {
        self.by_others.iter().any(|(by, _)| by.worker == *registrar)
    }

    /// How often this process, which is not the owner, registered us.
    pub fn count_by(&self, registrar: &WorkerId) -> u32 {
        let mut by_others = self.by_others.iter();
        let its = by_others.find(|(by, _)| by.worker == *registrar);
        its.map_or(0, |(_, count)| *count)
    }

    /// What is taken back with the last reference: how often the owner registered us, and others.
    /// `None` where nobody did.
    pub fn into_message(self) -> Option<(u32, Vec<Registrations>)> {
        if self.by_owner == 0 && self.by_others.is_empty() {
            return None;
        }
        let others = self.by_others.into_iter();
        let others = others.map(|(by, count)| Registrations {
            registrar: by.worker,
            count,
            node: by.node,
        });
        Some((self.by_owner, others.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worker(number: u8) -> WorkerId {
        WorkerId::from_array([number; 28])
    }

    #[test]
    fn a_goodbye_does_not_cancel_out_the_word_of_another_registrar() {
        let mut accounts = Accounts::default();
        let (borrower, dead, living) = (worker(1), worker(2), worker(3));
        assert_eq!(accounts.change(borrower, dead, -1), -1);
        assert_eq!(accounts.change(borrower, living, 1), 1);
        assert!(accounts.on_dead(&dead));
        assert!(!accounts.is_empty(), "it has the reference again");
        assert_eq!(accounts.change(borrower, living, -1), 0);
        assert!(accounts.is_empty());
    }

    #[test]
    fn what_a_dead_registrar_has_said_counts() {
        let mut accounts = Accounts::default();
        let (borrower, registrar) = (worker(1), worker(2));
        assert_eq!(accounts.change(borrower, registrar, 1), 1);
        assert!(!accounts.on_dead(&registrar));
        assert!(!accounts.is_empty());
        assert!(accounts.on_dead(&borrower));
        assert!(accounts.is_empty());
    }
}

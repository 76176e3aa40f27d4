//! What waits for what, from reports of processes: explanations for people, and wait-for cycles.
//!
//! [`Survey`] collects reports, from process to process. What is concluded from them is pure:
//! [`explain`] says why something is where it is, [`find_cycle`] whether it can go on at all.

mod cycle;
mod explain;
mod progress;
mod survey;
#[cfg(test)]
mod tests;

pub use cycle::{Cycle, find_cycle};
pub use explain::{Explanation, Step, explain};
pub use survey::Survey;

use whipray_proto::messages::cluster::StatusReply;
use whipray_proto::messages::inquiry::{Inquiry, InquiryAnswered};

/// Whoever can pass questions on.
pub trait Cluster {
    /// What processes know. `None` where nobody answers, or nobody waits for it any more.
    fn inquire(&mut self, inquiry: Inquiry) -> Option<InquiryAnswered>;

    /// What control knows. `None` where it does not answer.
    fn status(&mut self) -> Option<StatusReply>;
}

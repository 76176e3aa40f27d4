//! What waits for what, and what has run, from reports of processes: explanations for people,
//! wait-for cycles, timelines.
//!
//! [`Survey`] collects reports, from process to process. What is concluded from them is pure:
//! [`explain`] says why something is where it is, [`find_cycle`] whether it can go on at all,
//! [`timeline`] what ran where and when.

mod cycle;
mod explain;
mod progress;
mod survey;
#[cfg(test)]
mod tests;
mod timeline;

pub use cycle::{Cycle, find_cycle};
pub use explain::{Explanation, Step, explain};
pub use survey::Survey;
pub use timeline::timeline;

use whipray_proto::messages::cluster::StatusReply;
use whipray_proto::messages::inquiry::{Inquiry, InquiryAnswered};

/// Whoever can pass questions on.
pub trait Cluster {
    /// What processes know. `None` where nobody answers, or nobody waits for it any more.
    fn inquire(&mut self, inquiry: Inquiry) -> Option<InquiryAnswered>;

    /// What control knows. `None` where it does not answer.
    fn status(&mut self) -> Option<StatusReply>;
}

//! `whipray stop`

use std::time::Duration;

use rustix::process::Signal;

use super::VerbError;
use crate::arguments::StopArguments;
use crate::processes;
use crate::session_files::{self, NodeFile};
use crate::tool::Tool;

/// How long a process may take to be gone once it was killed.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// Ends all clusters of this user that `start` started, and waits until they are gone.
pub fn run(arguments: &StopArguments) -> Result<(), VerbError> {
    let mut is_any = false;
    let mut left = 0;
    for node in session_files::known_sessions()
        .into_iter()
        .filter(|node| node.is_detached)
    {
        if !processes::is_daemon(node.pid) {
            continue;
        }
        is_any = true;
        if stop(&node, arguments) {
            println!("{}", told(&node));
        } else {
            eprintln!("whipray: the daemon with pid {} does not end", node.pid);
            left += 1;
        }
    }
    if !is_any {
        println!("Did not find any active cluster of this user.");
    }
    if left == 0 {
        Ok(())
    } else {
        Err(VerbError::NotStopped(left))
    }
}

/// What has ended: the whole cluster with its head, or one node of it.
fn told(node: &NodeFile) -> String {
    let cluster = &node.cluster_address;
    match &node.tcp {
        Some(address) if address != cluster => {
            format!("This machine has left the cluster at {cluster}.")
        }
        _ => format!("Stopped the cluster at {cluster}."),
    }
}

fn stop(node: &NodeFile, arguments: &StopArguments) -> bool {
    if !arguments.force {
        let asked = Tool::connect(node).and_then(|mut tool| tool.shut_down("whipray stop"));
        if asked.is_err() {
            // It does not talk to us; a signal it may still understand.
            processes::signal(node.pid, Signal::TERM);
        }
        let grace = Duration::from_secs(arguments.grace_period.into());
        if processes::wait_for_end(node.pid, grace) {
            return true;
        }
    }
    // Its workers notice the end of their daemon by themselves.
    processes::signal(node.pid, Signal::KILL);
    let is_gone = processes::wait_for_end(node.pid, KILL_WAIT);
    if is_gone {
        session_files::forget(node);
    }
    is_gone
}

//! `whipray status`

use std::fmt::{self, Write};

use whipray_proto::Resources;
use whipray_proto::messages::actor::ActorState;
use whipray_proto::messages::cluster::{ActorStatus, NodeStatus, PendingDemand, StatusReply};
use whipray_proto::resources::{MEMORY, OBJECT_STORE_MEMORY};

use super::VerbError;
use super::scaling_report::ScalingReport;
use crate::arguments::StatusArguments;
use crate::tool;

/// Shows the state of a cluster.
pub fn run(arguments: &StatusArguments) -> Result<(), VerbError> {
    let mut tool = tool::find(arguments.address.as_deref(), tool::Which::Detached)?;
    let status = tool.status()?;
    print!(
        "{}",
        Report {
            status: &status,
            is_verbose: arguments.verbose > 0
        }
    );
    Ok(())
}

struct Report<'a> {
    status: &'a StatusReply,
    is_verbose: bool,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status;
        writeln!(
            out,
            "Cluster {} (whipray {})",
            status.cluster_address, status.version
        )?;
        let alive: Vec<&NodeStatus> = status.nodes.iter().filter(|node| node.alive).collect();
        writeln!(out, "\nNodes: {} alive", alive.len())?;
        for node in &alive {
            let kind = if node.is_head { "head" } else { "worker" };
            writeln!(
                out,
                "  {}  {}  {kind}, {} workers",
                node.ip, node.hostname, node.workers
            )?;
            if !node.goes_after.is_empty() {
                writeln!(out, "    is to go: {}", node.goes_after)?;
            }
            if self.is_verbose {
                writeln!(out, "    id       {}", node.node)?;
                writeln!(out, "    session  {}", node.session_directory)?;
                writeln!(out, "    objects  {}", node.store_objects)?;
                if node.metrics_port > 0 {
                    let (ip, port) = (&node.ip, node.metrics_port);
                    writeln!(out, "    metrics  http://{ip}:{port}/metrics")?;
                }
            }
        }
        writeln!(out, "\nResources in use")?;
        for line in usage(&alive) {
            writeln!(out, "  {line}")?;
        }
        writeln!(out, "\nWaiting")?;
        if status.demands.is_empty() {
            writeln!(out, "  (nothing)")?;
        }
        for demand in &status.demands {
            writeln!(out, "  {}", describe_demand(demand))?;
        }
        if let Some(scaling) = status.scaling.as_deref() {
            write!(out, "{}", ScalingReport::of_now(scaling, &alive))?;
        }
        let live = status
            .actors
            .iter()
            .filter(|actor| actor.state != ActorState::Dead as i32);
        let jobs: Vec<_> = status.jobs.iter().filter(|job| !job.is_over).collect();
        writeln!(
            out,
            "\nDrivers: {}, live actors: {}",
            jobs.len(),
            live.count()
        )?;
        if self.is_verbose {
            for job in jobs.into_iter().map(|job| &job.description) {
                writeln!(
                    out,
                    "  job {}  pid {}  {}",
                    job.job, job.driver_pid, job.entrypoint
                )?;
            }
            for actor in &status.actors {
                writeln!(out, "  actor {}", describe_actor(actor))?;
            }
        }
        Ok(())
    }
}

/// `0.5/2 CPU` for each resource of all nodes together.
fn usage(nodes: &[&NodeStatus]) -> Vec<String> {
    let (mut total, mut available) = (Resources::none(), Resources::none());
    for node in nodes {
        total.add(&node.total);
        available.add(&node.available);
    }
    let store_used: u64 = nodes.iter().map(|node| node.store_used_bytes).sum();
    let is_shown = |name: &&String| !name.starts_with("node:");
    let names = total.amounts.keys().filter(is_shown);
    names
        .map(|name| {
            let all = total.amount(name);
            let used = all - available.amount(name);
            match name.as_str() {
                OBJECT_STORE_MEMORY => {
                    format!("{}/{} {name}", bytes(store_used as f64), bytes(all))
                }
                MEMORY => format!("{}/{} {name}", bytes(used), bytes(all)),
                _ => format!("{used}/{all} {name}"),
            }
        })
        .collect()
}

/// `1.5 GiB`
fn bytes(count: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut count = count;
    let mut unit = 0;
    while count >= 1024.0 && unit + 1 < UNITS.len() {
        count /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{count} B")
    } else {
        format!("{count:.1} {}", UNITS[unit])
    }
}

fn describe_demand(demand: &PendingDemand) -> String {
    let mut text = format!("{} x {}", demand.count, demand.resources.describe());
    if !demand.example.is_empty() {
        let _ = write!(text, " for {}", demand.example);
    }
    let never = if demand.infeasible {
        "can never run: "
    } else {
        ""
    };
    let _ = write!(text, ": {never}{}", demand.reason);
    text
}

fn describe_actor(actor: &ActorStatus) -> String {
    let state = match ActorState::try_from(actor.state) {
        Ok(ActorState::Pending) => "pending",
        Ok(ActorState::Alive) => "alive",
        Ok(ActorState::Restarting) => "restarting",
        Ok(ActorState::Dead) => "dead",
        Err(_) => "unknown",
    };
    let mut text = format!("{}  {}  {state}", actor.actor, actor.class_name);
    if !actor.name.is_empty() {
        let _ = write!(text, "  named {:?} in {:?}", actor.name, actor.namespace);
    }
    if actor.restarts > 0 {
        let _ = write!(text, "  restarts: {}", actor.restarts);
    }
    if !actor.death.is_empty() {
        let _ = write!(text, "  {}", actor.death);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use whipray_proto::resources::CPU;

    #[test]
    fn the_report_shows_use_and_what_waits() {
        let node = NodeStatus {
            alive: true,
            ip: "127.0.0.1".into(),
            hostname: "here".into(),
            is_head: true,
            total: Resources::none().with(CPU, 2.0).with("node:127.0.0.1", 1.0),
            available: Resources::none().with(CPU, 0.5).with("node:127.0.0.1", 1.0),
            workers: 2,
            goes_after: "it goes once these have: 1 leases".into(),
            ..NodeStatus::default()
        };
        let demand = PendingDemand {
            resources: Resources::none().with(CPU, 50.0),
            count: 3,
            infeasible: true,
            reason: "asks for 50 CPU and no node has more than 2".into(),
            example: "f".into(),
        };
        let status = StatusReply {
            nodes: vec![node],
            demands: vec![demand],
            version: "1".into(),
            cluster_address: "127.0.0.1:6379".into(),
            ..StatusReply::default()
        };
        let text = Report {
            status: &status,
            is_verbose: false,
        }
        .to_string();
        assert!(text.contains("1.5/2 CPU"), "{text}");
        assert!(!text.contains("node:"), "{text}");
        assert!(text.contains("is to go: it goes once these have: 1 leases"));
        assert!(text.contains(
            "3 x {CPU: 50} for f: can never run: asks for 50 CPU and no node has more than 2"
        ));
    }

    #[test]
    fn bytes_are_readable() {
        assert_eq!(bytes(12.0), "12 B");
        assert_eq!(bytes(1536.0 * 1024.0 * 1024.0), "1.5 GiB");
    }
}

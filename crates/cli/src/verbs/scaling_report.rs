//! What `whipray status` shows of an autoscaler.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use whipray_proto::link::NodeState;
use whipray_proto::messages::cluster::NodeStatus;
use whipray_proto::messages::scaling::ScalingStatus;

/// Nodes by their type, those that are to come, and what went wrong.
pub struct ScalingReport<'a> {
    pub scaling: &'a ScalingStatus,
    /// Those that are not dead.
    pub nodes: &'a [&'a NodeStatus],
    /// Milliseconds since 1970.
    pub now_ms: u64,
}

impl<'a> ScalingReport<'a> {
    /// As it is at this moment.
    pub fn of_now(scaling: &'a ScalingStatus, nodes: &'a [&'a NodeStatus]) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            scaling,
            nodes,
            now_ms: since.map_or(0, |since| since.as_millis() as u64),
        }
    }
}

impl fmt::Display for ScalingReport<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scaling = self.scaling;
        writeln!(out, "\nAutoscaler")?;
        let (mut active, mut draining) = (BTreeMap::new(), BTreeMap::new());
        for node in self.nodes {
            let name = match node.node_type.as_str() {
                "" => "(joined by itself)",
                name => name,
            };
            let counts = match node.state == NodeState::Draining as i32 {
                true => &mut draining,
                false => &mut active,
            };
            *counts.entry(name).or_insert(0) += 1;
        }
        writeln!(out, "  Active:    {}", counted(&active))?;
        let starting = scaling.types.iter().filter(|it| it.starting > 0);
        let starting: BTreeMap<&str, u32> =
            starting.map(|it| (it.name.as_str(), it.starting)).collect();
        writeln!(out, "  Pending:   {}", counted(&starting))?;
        if !draining.is_empty() {
            writeln!(out, "  Draining:  {}", counted(&draining))?;
        }
        let mut requested: BTreeMap<String, u32> = BTreeMap::new();
        for bundle in &scaling.requested {
            *requested.entry(bundle.resources.describe()).or_default() += 1;
        }
        for (bundle, count) in requested {
            writeln!(
                out,
                "  Requested: {count} x {bundle} by request_resources()"
            )?;
        }
        for failure in &scaling.failures {
            let seconds = self.now_ms.saturating_sub(failure.at_unix_ms) / 1000;
            let (name, reason) = (&failure.node_type, &failure.reason);
            writeln!(out, "  Failed:    {name}, {seconds} s ago: {reason}")?;
        }
        Ok(())
    }
}

/// `2 cpu, 1 gpu`
fn counted(counts: &BTreeMap<&str, u32>) -> String {
    if counts.is_empty() {
        return "(no nodes)".to_owned();
    }
    let parts: Vec<String> = counts
        .iter()
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use whipray_proto::Resources;
    use whipray_proto::messages::scaling::{FailedStart, NodeType};
    use whipray_proto::resources::CPU;
    use whipray_proto::scheduling::BundleSpec;

    #[test]
    fn it_shows_nodes_by_type_and_what_is_to_come() {
        let node = |name: &str, state: NodeState| NodeStatus {
            node_type: name.to_owned(),
            state: state as i32,
            ..NodeStatus::default()
        };
        let nodes = [
            node("head", NodeState::Alive),
            node("cpu", NodeState::Alive),
            node("cpu", NodeState::Draining),
        ];
        let one = BundleSpec {
            resources: Resources::none().with(CPU, 1.0),
            selector: None,
        };
        let scaling = ScalingStatus {
            types: vec![NodeType {
                name: "gpu".to_owned(),
                starting: 2,
                ..NodeType::default()
            }],
            failures: vec![FailedStart {
                node_type: "gpu".to_owned(),
                reason: "no capacity".to_owned(),
                at_unix_ms: 1000,
            }],
            requested: vec![one.clone(), one],
            ..ScalingStatus::default()
        };
        let report = ScalingReport {
            scaling: &scaling,
            nodes: &nodes.iter().collect::<Vec<_>>(),
            now_ms: 13_500,
        };
        let expected = "
Autoscaler
  Active:    1 cpu, 1 head
  Pending:   2 gpu
  Draining:  1 cpu
  Requested: 2 x {CPU: 1} by request_resources()
  Failed:    gpu, 12 s ago: no capacity
";
        assert_eq!(report.to_string(), expected);
    }
}

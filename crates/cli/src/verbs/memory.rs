//! `whipray memory`: who holds which object, how large it is, and where it was made.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write};

use whipray_diagnosis::Cluster;
use whipray_proto::ObjectId;
use whipray_proto::messages::cluster::{NodeStatus, StatusReply};
use whipray_proto::messages::inquiry::{Inquiry, InquiryAnswered, ObjectReport, ProcessReport};

use super::VerbError;
use crate::arguments::{GroupBy, MemoryArguments, SortBy, Unit};
use crate::tool::{self, ToolError};

/// Objects of each process that are asked for where no number is given.
const ENTRIES: u32 = 100_000;

/// Shows what the processes of a cluster refer to.
pub fn run(arguments: &MemoryArguments) -> Result<(), VerbError> {
    let mut tool = tool::find(arguments.address.as_deref(), tool::Which::Any)?;
    let status = tool.status()?;
    let inquiry = Inquiry {
        limit: ENTRIES,
        is_for_all: true,
        ..Inquiry::default()
    };
    let answer = tool
        .inquire(inquiry)
        .ok_or(ToolError::Unexpected("no answer about objects"))?;
    print!("{}", Report::new(arguments, &status, &answer));
    Ok(())
}

/// Why an object is kept, by one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    ActorHandle,
    CapturedInObject,
    LocalReference,
    PinnedInMemory,
    UsedByPendingTask,
}

impl Kind {
    const ALL: [(Self, &'static str); 5] = [
        (Self::LocalReference, "LOCAL_REFERENCE"),
        (Self::PinnedInMemory, "PINNED_IN_MEMORY"),
        (Self::UsedByPendingTask, "USED_BY_PENDING_TASK"),
        (Self::CapturedInObject, "CAPTURED_IN_OBJECT"),
        (Self::ActorHandle, "ACTOR_HANDLE"),
    ];

    fn of(object: &ObjectReport) -> Self {
        if object.is_actor_handle {
            Self::ActorHandle
        } else if object.by_tasks > 0 {
            Self::UsedByPendingTask
        } else if object.is_shared && object.is_pinned {
            Self::PinnedInMemory
        } else if object.local == 0 && object.by_objects > 0 {
            Self::CapturedInObject
        } else {
            Self::LocalReference
        }
    }

    fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(kind, _)| *kind == self);
        found.map_or("", |(_, name)| name)
    }
}

/// One object, as one process holds it.
#[derive(Clone, Debug)]
struct Row {
    ip: String,
    pid: u32,
    holder: &'static str,
    call_site: String,
    size_bytes: Option<u64>,
    kind: Kind,
    object: String,
}

impl Row {
    fn of(process: &ProcessReport, object: &ObjectReport, ip: &str) -> Self {
        let is_known = object.is_ready && !object.is_actor_handle;
        Self {
            ip: ip.to_owned(),
            pid: process.pid,
            holder: if process.is_driver {
                "Driver"
            } else {
                "Worker"
            },
            call_site: match object.call_site.as_str() {
                "" => "disabled".to_owned(),
                site => site.to_owned(),
            },
            size_bytes: is_known.then_some(object.size_bytes),
            kind: Kind::of(object),
            object: object.object.to_hex(),
        }
    }
}

struct Report<'a> {
    arguments: &'a MemoryArguments,
    nodes: &'a [NodeStatus],
    silent: Vec<String>,
    is_cut: bool,
    groups: BTreeMap<String, Vec<Row>>,
}

impl<'a> Report<'a> {
    fn new(
        arguments: &'a MemoryArguments,
        status: &'a StatusReply,
        answer: &InquiryAnswered,
    ) -> Self {
        let ip_of = |process: &ProcessReport| {
            let mut nodes = status.nodes.iter();
            let node = nodes.find(|node| node.node == process.node);
            node.map_or("", |node| node.ip.as_str())
        };
        // A borrower that never asked for the value does not know its size; the owner does.
        let objects = answer.processes.iter().flat_map(|process| {
            let of_process = process.objects.iter();
            of_process.filter(|object| object.owner == process.worker && object.is_ready)
        });
        let sizes: HashMap<ObjectId, u64> = objects
            .map(|object| (object.object, object.size_bytes))
            .collect();
        let mut groups: BTreeMap<String, Vec<Row>> = BTreeMap::new();
        for process in &answer.processes {
            let ip = ip_of(process);
            for object in &process.objects {
                let mut row = Row::of(process, object, ip);
                if !object.is_actor_handle {
                    row.size_bytes = row.size_bytes.or(sizes.get(&object.object).copied());
                }
                let group = match arguments.group_by {
                    GroupBy::NodeAddress => row.ip.clone(),
                    GroupBy::StackTrace => row.call_site.clone(),
                };
                groups.entry(group).or_default().push(row);
            }
        }
        for rows in groups.values_mut() {
            rows.sort_by_key(|row| row.object.clone());
            match arguments.sort_by {
                SortBy::Pid => rows.sort_by_key(|row| row.pid),
                SortBy::ObjectSize => rows.sort_by_key(|row| std::cmp::Reverse(row.size_bytes)),
                SortBy::ReferenceType => rows.sort_by_key(|row| row.kind.name()),
            }
        }
        let silent = answer.silent.iter();
        Self {
            arguments,
            nodes: &status.nodes,
            silent: silent
                .map(|it| format!("{} (pid {})", it.name, it.pid))
                .collect(),
            is_cut: answer.processes.iter().any(|process| process.is_cut),
            groups,
        }
    }

    fn size(&self, bytes: Option<u64>) -> String {
        let Some(bytes) = bytes else {
            return "?".to_owned();
        };
        let divisor = match self.arguments.units {
            Unit::B => return format!("{bytes} B"),
            Unit::KB => (1024.0, "KiB"),
            Unit::MB => (1024.0 * 1024.0, "MiB"),
            Unit::GB => (1024.0 * 1024.0 * 1024.0, "GiB"),
        };
        format!("{:.3} {}", bytes as f64 / divisor.0, divisor.1)
    }

    fn write_group(&self, name: &str, rows: &[Row], out: &mut String) -> fmt::Result {
        let sum: u64 = rows.iter().filter_map(|row| row.size_bytes).sum();
        let counts: Vec<String> = Kind::ALL
            .iter()
            .map(|(kind, name)| {
                let count = rows.iter().filter(|row| row.kind == *kind).count();
                format!("{count} {name}")
            })
            .collect();
        let label = match self.arguments.group_by {
            GroupBy::NodeAddress => "node",
            GroupBy::StackTrace => "made at",
        };
        writeln!(out, "\n--- {label} {name}: {} references ---", rows.len())?;
        writeln!(out, "{}; {}", self.size(Some(sum)), counts.join(", "))?;
        writeln!(
            out,
            "{:<15}  {:>7}  {:<6}  {:>14}  {:<20}  {:<56}  Call Site",
            "IP Address", "PID", "Type", "Size", "Reference Type", "Object Ref"
        )?;
        let most = self.arguments.num_entries.unwrap_or(usize::MAX);
        for row in rows.iter().take(most) {
            writeln!(
                out,
                "{:<15}  {:>7}  {:<6}  {:>14}  {:<20}  {:<56}  {}",
                row.ip,
                row.pid,
                row.holder,
                self.size(row.size_bytes),
                row.kind.name(),
                row.object,
                row.call_site
            )?;
        }
        if rows.len() > most {
            writeln!(out, "... and {} more", rows.len() - most)?;
        }
        Ok(())
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        if !self.arguments.stats_only {
            writeln!(out, "======== Object references ========")?;
            for (name, rows) in &self.groups {
                self.write_group(name, rows, &mut out)?;
            }
            if self.groups.is_empty() {
                writeln!(out, "(none)")?;
            }
            if !self.silent.is_empty() {
                writeln!(out, "\nNo answer from: {}", self.silent.join(", "))?;
            }
            if self.is_cut {
                writeln!(out, "\nA process has more objects than are listed.")?;
            }
            writeln!(
                out,
                "\nTo record where objects are made, set RAY_record_ref_creation_sites=1."
            )?;
        }
        writeln!(out, "\n======== Object store ========")?;
        for node in self.nodes {
            writeln!(
                out,
                "{}: {} of {} used by {} objects",
                node.ip,
                self.size(Some(node.store_used_bytes)),
                self.size(Some(node.store_capacity_bytes)),
                node.store_objects
            )?;
        }
        formatter.write_str(&out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments() -> MemoryArguments {
        MemoryArguments {
            address: None,
            group_by: GroupBy::NodeAddress,
            sort_by: SortBy::ObjectSize,
            units: Unit::B,
            no_format: true,
            stats_only: false,
            num_entries: None,
        }
    }

    fn told(arguments: &MemoryArguments, objects: Vec<ObjectReport>) -> String {
        let node = NodeStatus {
            ip: "10.0.0.1".into(),
            ..NodeStatus::default()
        };
        let status = StatusReply {
            nodes: vec![node],
            ..StatusReply::default()
        };
        let process = ProcessReport {
            pid: 42,
            is_driver: true,
            objects,
            ..ProcessReport::default()
        };
        let answer = InquiryAnswered {
            processes: vec![process],
            ..InquiryAnswered::default()
        };
        Report::new(arguments, &status, &answer).to_string()
    }

    fn object(size_bytes: u64) -> ObjectReport {
        ObjectReport {
            is_ready: true,
            size_bytes,
            local: 1,
            ..ObjectReport::default()
        }
    }

    #[test]
    fn each_reference_has_its_kind() {
        let shared = ObjectReport {
            is_shared: true,
            is_pinned: true,
            ..object(1)
        };
        let used = ObjectReport {
            by_tasks: 1,
            ..shared.clone()
        };
        let captured = ObjectReport {
            local: 0,
            by_objects: 1,
            ..object(1)
        };
        let handle = ObjectReport {
            is_actor_handle: true,
            ..object(1)
        };
        let kinds: Vec<&str> = [&object(1), &shared, &used, &captured, &handle]
            .map(|object| Kind::of(object).name())
            .to_vec();
        let all: Vec<&str> = Kind::ALL.iter().map(|(_, name)| *name).collect();
        assert_eq!(kinds, all);
        let unread = ObjectReport {
            is_pinned: false,
            ..shared
        };
        assert_eq!(
            Kind::of(&unread),
            Kind::LocalReference,
            "without a view nothing is pinned"
        );
    }

    #[test]
    fn the_largest_come_first_and_pending_ones_have_no_size() {
        let pending = ObjectReport {
            is_ready: false,
            ..object(0)
        };
        let mut objects = vec![object(5), object(7_000), pending];
        for (number, object) in (1..).zip(&mut objects) {
            object.object = ObjectId::from_array([number; 28]);
        }
        let text = told(&arguments(), objects);
        let positions = ["7000 B", "    5 B", "?"].map(|size| text.find(size));
        assert!(positions.iter().all(Option::is_some), "{text}");
        assert!(positions.is_sorted(), "{text}");
        assert!(text.contains("7005 B; 3 LOCAL_REFERENCE"), "{text}");
    }

    #[test]
    fn units_and_numbers_of_entries_are_followed() {
        let arguments = MemoryArguments {
            units: Unit::KB,
            num_entries: Some(1),
            group_by: GroupBy::StackTrace,
            ..arguments()
        };
        let text = told(&arguments, vec![object(2048), object(1024)]);
        assert!(
            text.contains("--- made at disabled: 2 references ---"),
            "{text}"
        );
        assert!(
            text.contains("2.000 KiB") && !text.contains("1.000 KiB"),
            "{text}"
        );
        assert!(text.contains("... and 1 more"), "{text}");
    }
}

//! What a node offers: what it was told to, else what the machine has.

use whipray_node::shell::gpus::Gpus;
use whipray_node::shell::machine;
use whipray_proto::resources::{CPU, GPU, MEMORY, OBJECT_STORE_MEMORY};
use whipray_proto::{Resources, limits};

use super::DaemonOptions;

/// The share of available memory that tasks and actors may ask for.
const MEMORY_SHARE: f64 = 0.7;

/// The share of available memory that the object store takes.
const STORE_SHARE: f64 = 0.3;

/// What the resource is called that every node with accelerators of a type has one of.
const ACCELERATOR_TYPE: &str = "accelerator_type:";

/// The largest amount that a resource may have, so that sums stay exact.
const MOST: f64 = 1e14;

/// Why the resources of a node cannot be as asked.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum ResourcesError {
    #[error("resources: {name} must be a number from 0 to {MOST}, and is {amount}")]
    BadAmount { name: String, amount: f64 },
    #[error("resources: {0} is set with an option of its own, not among the custom ones")]
    Reserved(String),
    #[error(
        "object_store_memory (--object-store-memory) of {asked} bytes is too small: the least is {} bytes",
        limits::STORE_LEAST_BYTES
    )]
    StoreTooSmall { asked: u64 },
    #[error(
        "object_store_memory (--object-store-memory) of {asked} bytes does not fit into the memory of this machine, which has {total} bytes"
    )]
    StoreTooLarge { asked: u64, total: u64 },
}

fn checked(name: &str, amount: f64) -> Result<f64, ResourcesError> {
    if amount.is_finite() && (0.0..=MOST).contains(&amount) {
        Ok(amount)
    } else {
        Err(ResourcesError::BadAmount {
            name: name.to_owned(),
            amount,
        })
    }
}

/// All that the node offers.
///
/// # Errors
/// An amount makes no sense, or a custom resource has a reserved name.
pub fn node_resources(
    options: &DaemonOptions,
    node_ip: &str,
    store_bytes: u64,
    found: &Gpus,
) -> Result<Resources, ResourcesError> {
    let cpus = options.num_cpus.unwrap_or_else(|| machine::cpus() as f64);
    let gpus = options.num_gpus.unwrap_or(found.count as f64);
    let memory = match options.memory {
        Some(bytes) => bytes as f64,
        None => (machine::available_memory() as f64 * MEMORY_SHARE).floor(),
    };
    let mut total = Resources::none()
        .with(CPU, checked("num_cpus", cpus)?)
        .with(GPU, checked("num_gpus", gpus)?)
        .with(MEMORY, checked(MEMORY, memory)?)
        .with(OBJECT_STORE_MEMORY, store_bytes as f64)
        .with(&format!("node:{node_ip}"), 1.0);
    if options.address.is_none() {
        total = total.with("node:__internal_head__", 1.0);
    }
    if let (true, Some(kind)) = (gpus > 0.0, &found.accelerator_type) {
        total = total.with(&format!("{ACCELERATOR_TYPE}{kind}"), 1.0);
    }
    for (name, amount) in options.resources.iter().flatten() {
        if [CPU, GPU, MEMORY, OBJECT_STORE_MEMORY].contains(&name.as_str()) {
            return Err(ResourcesError::Reserved(name.clone()));
        }
        total = total.with(name, checked(name, *amount)?);
    }
    Ok(total)
}

/// The size of the object store in bytes.
///
/// # Errors
/// It is too small to be of use, or larger than the machine's memory.
pub fn object_store_bytes(options: &DaemonOptions) -> Result<u64, ResourcesError> {
    let total = machine::total_memory();
    choose_store_bytes(
        options.object_store_memory,
        machine::available_memory(),
        total,
    )
}

fn choose_store_bytes(
    asked: Option<u64>,
    available: u64,
    total: u64,
) -> Result<u64, ResourcesError> {
    match asked {
        Some(asked) if asked < limits::STORE_LEAST_BYTES => {
            Err(ResourcesError::StoreTooSmall { asked })
        }
        // A machine that does not tell its memory is believed to have enough.
        Some(asked) if total > 0 && asked > total => {
            Err(ResourcesError::StoreTooLarge { asked, total })
        }
        Some(asked) => Ok(asked),
        None => {
            let share = (available as f64 * STORE_SHARE) as u64;
            Ok(share.clamp(limits::STORE_LEAST_BYTES, limits::STORE_MOST_BYTES))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn what_is_asked_for_is_what_the_node_has() {
        let options = DaemonOptions {
            num_cpus: Some(3.0),
            num_gpus: Some(0.0),
            memory: Some(1 << 30),
            resources: Some(BTreeMap::from([("gold".to_owned(), 1.5)])),
            ..DaemonOptions::default()
        };
        let total =
            node_resources(&options, "127.0.0.1", 100, &Gpus::default()).unwrap_or_default();
        assert_eq!(total.amount(CPU), 3.0);
        assert!(!total.amounts.contains_key(GPU));
        assert_eq!(total.amount("gold"), 1.5);
        assert_eq!(total.amount("node:127.0.0.1"), 1.0);
        assert_eq!(total.amount(MEMORY), (1u64 << 30) as f64);
    }

    #[test]
    fn a_node_with_gpus_has_their_type() {
        let found = Gpus {
            count: 2,
            visible: None,
            accelerator_type: Some("H200".to_owned()),
        };
        let of = |num_gpus| {
            let options = DaemonOptions {
                num_gpus,
                ..DaemonOptions::default()
            };
            node_resources(&options, "ip", 100, &found).unwrap_or_default()
        };
        assert_eq!(of(None).amount(GPU), 2.0);
        assert_eq!(of(None).amount("accelerator_type:H200"), 1.0);
        assert_eq!(of(Some(1.0)).amount("accelerator_type:H200"), 1.0);
        assert_eq!(of(Some(0.0)).amount("accelerator_type:H200"), 0.0);
    }

    #[test]
    fn amounts_without_sense_are_refused() {
        for amount in [-1.0, f64::NAN, f64::INFINITY] {
            let options = DaemonOptions {
                num_cpus: Some(amount),
                ..DaemonOptions::default()
            };
            assert!(node_resources(&options, "ip", 100, &Gpus::default()).is_err());
        }
        let custom = Some(BTreeMap::from([("CPU".to_owned(), 1.0)]));
        let options = DaemonOptions {
            resources: custom,
            ..DaemonOptions::default()
        };
        assert_eq!(
            node_resources(&options, "ip", 100, &Gpus::default()),
            Err(ResourcesError::Reserved("CPU".to_owned()))
        );
    }

    #[test]
    fn the_store_fits_the_machine() {
        const GIB: u64 = 1 << 30;
        assert_eq!(choose_store_bytes(None, 10 * GIB, 16 * GIB), Ok(3 * GIB));
        assert_eq!(
            choose_store_bytes(None, 0, 16 * GIB),
            Ok(limits::STORE_LEAST_BYTES)
        );
        assert_eq!(
            choose_store_bytes(None, 10_000 * GIB, 0),
            Ok(limits::STORE_MOST_BYTES)
        );
        assert_eq!(
            choose_store_bytes(Some(1), 10 * GIB, 16 * GIB),
            Err(ResourcesError::StoreTooSmall { asked: 1 })
        );
        assert_eq!(
            choose_store_bytes(Some(17 * GIB), 10 * GIB, 16 * GIB),
            Err(ResourcesError::StoreTooLarge {
                asked: 17 * GIB,
                total: 16 * GIB
            })
        );
    }
}

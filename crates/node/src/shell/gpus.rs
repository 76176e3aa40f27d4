//! The GPUs of a machine: how many, of which type, and by which names programs see them.
//!
//! NVIDIA's management library is loaded where the machine has its devices; nothing of it is linked.
//! A GPU that is partitioned counts as its partitions (MIG devices), which programs can name by
//! their UUIDs alone.

mod nvml;

use std::path::Path;

/// One GPU, as its driver describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    pub uuid: String,
    /// `NVIDIA A100-SXM4-40GB`
    pub name: String,
    /// The UUIDs of its partitions, where it is partitioned.
    pub partitions: Option<Vec<String>>,
}

/// Where devices are listed.
pub trait Source {
    /// The GPUs of the machine in their order; empty where there are none, or nobody knows.
    fn devices(&self) -> Vec<Device>;
}

/// The devices of this machine.
pub struct Machine;

impl Source for Machine {
    fn devices(&self) -> Vec<Device> {
        let count = count_devices(Path::new("/dev"));
        if count == 0 {
            return Vec::new();
        }
        nvml::devices().unwrap_or_else(|error| {
            tracing::info!(%error, "GPUs are counted, but not described");
            vec![Device::default(); count]
        })
    }
}

fn count_devices(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return 0;
    };
    let is_gpu = |name: &str| {
        name.strip_prefix("nvidia")
            .is_some_and(|number| number.parse::<u32>().is_ok())
    };
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(is_gpu))
        .count()
}

/// What a node makes of its devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gpus {
    /// Those that tasks and actors may use, partitions counted each.
    pub count: usize,
    /// `CUDA_VISIBLE_DEVICES` for the workers, where it is not what the daemon has itself.
    pub visible: Option<String>,
    /// `A100`, where all that is known of the first one says so.
    pub accelerator_type: Option<String>,
}

/// The GPUs of `source`; of these only what `visible` (the variable `CUDA_VISIBLE_DEVICES`) names,
/// where it is set.
pub fn detect(source: &dyn Source, visible: Option<&str>) -> Gpus {
    let devices = source.devices();
    let names: Vec<String> = devices
        .iter()
        .flat_map(|device| match &device.partitions {
            Some(partitions) => partitions.clone(),
            None => vec![device.uuid.clone()],
        })
        .collect();
    let is_partitioned = devices.iter().any(|device| device.partitions.is_some());
    Gpus {
        count: match visible {
            Some(visible) => count_visible(visible).min(names.len()),
            None => names.len(),
        },
        visible: match visible {
            None if is_partitioned => Some(names.join(",")),
            _ => None,
        },
        accelerator_type: devices.first().and_then(|device| type_of(&device.name)),
    }
}

fn count_visible(names: &str) -> usize {
    // As CUDA reads it: the first name that is no device ends the list.
    names
        .split(',')
        .map(str::trim)
        .take_while(|name| !name.is_empty() && !name.starts_with('-') && *name != "NoDevFiles")
        .count()
}

/// `A100` of `NVIDIA A100-SXM4-40GB`: the capitals and digits that the second word begins with.
fn type_of(name: &str) -> Option<String> {
    let model = name.split_whitespace().nth(1)?;
    let is_part = |letter: &char| letter.is_ascii_uppercase() || letter.is_ascii_digit();
    let kind: String = model.chars().take_while(is_part).collect();
    (!kind.is_empty()).then_some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fake(Vec<Device>);

    impl Source for Fake {
        fn devices(&self) -> Vec<Device> {
            self.0.clone()
        }
    }

    fn device(number: u32, partitions: Option<&[&str]>) -> Device {
        Device {
            uuid: format!("GPU-{number}"),
            name: "NVIDIA A100-SXM4-40GB".to_owned(),
            partitions: partitions.map(|names| names.iter().map(|&name| name.into()).collect()),
        }
    }

    #[test]
    fn whole_devices_keep_their_numbers() {
        let machine = Fake(vec![device(0, None), device(1, None)]);
        let found = detect(&machine, None);
        assert_eq!((found.count, found.visible), (2, None));
        assert_eq!(found.accelerator_type.as_deref(), Some("A100"));
    }

    #[test]
    fn partitions_count_and_have_names() {
        let machine = Fake(vec![
            device(0, Some(&["MIG-a", "MIG-b", "MIG-c"])),
            device(1, None),
            device(2, Some(&[])),
        ]);
        let found = detect(&machine, None);
        assert_eq!(found.count, 4);
        assert_eq!(found.visible.as_deref(), Some("MIG-a,MIG-b,MIG-c,GPU-1"));
    }

    #[test]
    fn what_is_not_visible_does_not_count() {
        let machine = Fake(vec![device(0, None), device(1, None), device(2, None)]);
        assert_eq!(detect(&machine, Some("1,2")).count, 2);
        assert_eq!(detect(&machine, Some("")).count, 0);
        assert_eq!(detect(&machine, Some("0,1,2,3")).count, 3);
        assert_eq!(detect(&Fake(Vec::new()), Some("0,1")).count, 0);
        assert_eq!(detect(&machine, Some("1,2")).visible, None);
    }

    #[test]
    fn only_numbered_devices_are_gpus() -> std::io::Result<()> {
        let folder = tempfile::tempdir()?;
        for name in ["nvidia0", "nvidia12", "nvidiactl", "nvidia-uvm", "null"] {
            std::fs::write(folder.path().join(name), "")?;
        }
        assert_eq!(count_devices(folder.path()), 2);
        Ok(())
    }

    #[test]
    fn visible_devices_end_at_the_first_that_is_none() {
        assert_eq!(count_visible("0,1,GPU-abc"), 3);
        assert_eq!(count_visible("0,-1,2"), 1);
        assert_eq!(count_visible(""), 0);
        assert_eq!(count_visible("NoDevFiles"), 0);
    }

    #[test]
    fn types_are_named_as_users_know_them() {
        let types = [
            ("Tesla V100-SXM2-16GB", Some("V100")),
            ("NVIDIA H200", Some("H200")),
            ("NVIDIA A10G", Some("A10G")),
            ("NVIDIA", None),
            ("", None),
        ];
        for (name, expected) in types {
            assert_eq!(type_of(name).as_deref(), expected);
        }
    }
}

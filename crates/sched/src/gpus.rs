//! Which GPUs a request gets: whole ones, or a share of a single one.

use std::collections::BTreeMap;

use whipray_proto::resources::UNITS;

/// Devices by their index, with an amount of each in ten-thousandths.
pub(crate) type DeviceShares = BTreeMap<u32, i64>;

/// What is free of each GPU that is there, in ten-thousandths. A node has whole ones; a bundle of a
/// placement group may have a share of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GpuSlots {
    free_units: DeviceShares,
}

impl GpuSlots {
    pub(crate) fn new(count: u32) -> Self {
        Self {
            free_units: (0..count).map(|index| (index, UNITS)).collect(),
        }
    }

    /// Those of a bundle.
    pub(crate) fn of_shares(shares: DeviceShares) -> Self {
        Self { free_units: shares }
    }

    /// The indexes for a request of `units`, or `None` where they are not free.
    pub(crate) fn acquire(&mut self, units: i64) -> Option<Vec<u32>> {
        if units <= 0 {
            return Some(Vec::new());
        }
        if units < UNITS {
            // The fullest GPU that has room, so that whole ones stay whole.
            let (index, free) = self
                .free_units
                .iter_mut()
                .filter(|(_, free)| **free >= units)
                .min_by_key(|(_, free)| **free)?;
            *free -= units;
            return Some(vec![*index]);
        }
        if units % UNITS != 0 {
            return None;
        }
        let wanted = (units / UNITS) as usize;
        let whole: Vec<u32> = self
            .free_units
            .iter()
            .filter(|(_, free)| **free == UNITS)
            .map(|(index, _)| *index)
            .take(wanted)
            .collect();
        if whole.len() < wanted {
            return None;
        }
        for index in &whole {
            self.free_units.insert(*index, 0);
        }
        Some(whole)
    }

    /// Gives back what [`Self::acquire`] returned for the same `units`.
    pub(crate) fn release(&mut self, units: i64, indexes: &[u32]) {
        let each = units.min(UNITS);
        for index in indexes {
            self.give(*index, each);
        }
    }

    /// Adds to what is free of one device.
    pub(crate) fn give(&mut self, index: u32, units: i64) {
        if let Some(free) = self.free_units.get_mut(&index) {
            *free = (*free + units).min(UNITS);
        }
    }

    /// Devices for a bundle: whole ones, and a share of another one for a rest.
    pub(crate) fn acquire_shares(&mut self, units: i64) -> Option<DeviceShares> {
        let (whole, rest) = (units - units % UNITS, units % UNITS);
        let of_whole = self.acquire(whole)?;
        let Some(of_rest) = self.acquire(rest) else {
            self.release(whole, &of_whole);
            return None;
        };
        let mut shares: DeviceShares = of_whole.iter().map(|index| (*index, UNITS)).collect();
        shares.extend(of_rest.iter().map(|index| (*index, rest)));
        Some(shares)
    }

    /// What is free of each device.
    pub(crate) fn free_units(&self) -> &DeviceShares {
        &self.free_units
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_one_gpu_are_packed() {
        let mut slots = GpuSlots::new(2);
        assert_eq!(slots.acquire(UNITS / 2), Some(vec![0]));
        assert_eq!(slots.acquire(UNITS / 4), Some(vec![0]));
        assert_eq!(slots.acquire(UNITS), Some(vec![1]));
        assert_eq!(slots.acquire(UNITS / 2), None);
        slots.release(UNITS / 2, &[0]);
        assert_eq!(slots.acquire(UNITS / 2), Some(vec![0]));
    }

    #[test]
    fn a_bundle_may_have_whole_devices_and_a_share() {
        let mut slots = GpuSlots::new(2);
        let shares = slots.acquire_shares(UNITS + UNITS / 2).unwrap_or_default();
        assert_eq!(shares, DeviceShares::from([(0, UNITS), (1, UNITS / 2)]));
        assert_eq!(slots.acquire_shares(UNITS), None);
        let mut bundle = GpuSlots::of_shares(shares);
        assert_eq!(bundle.acquire(UNITS), Some(vec![0]));
        assert_eq!(bundle.acquire(UNITS / 2), Some(vec![1]));
        assert_eq!(bundle.acquire(1), None);
    }

    #[test]
    fn whole_gpus_come_whole_or_not_at_all() {
        let mut slots = GpuSlots::new(3);
        assert_eq!(slots.acquire(UNITS / 10), Some(vec![0]));
        assert_eq!(slots.acquire(3 * UNITS), None);
        assert_eq!(slots.acquire(2 * UNITS), Some(vec![1, 2]));
        slots.release(2 * UNITS, &[1, 2]);
        slots.release(UNITS / 10, &[0]);
        assert_eq!(slots, GpuSlots::new(3));
    }
}

//! Logical resources: named amounts in fixed point, so that tenths of a CPU add up exactly.

use std::collections::BTreeMap;

/// Units per whole resource: four decimal places, as with Ray.
pub const UNITS: i64 = 10_000;

pub const CPU: &str = "CPU";
pub const GPU: &str = "GPU";
pub const MEMORY: &str = "memory";
pub const OBJECT_STORE_MEMORY: &str = "object_store_memory";

/// Amounts by name, in ten-thousandths. A name that is absent has none.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Resources {
    #[prost(btree_map = "string, sint64", tag = "1")]
    pub amounts: BTreeMap<String, i64>,
}

impl Resources {
    /// Nothing at all.
    pub fn none() -> Self {
        Self::default()
    }

    /// The same with `amount` (whole units, may be fractional) of `name`; zero removes it.
    pub fn with(mut self, name: &str, amount: f64) -> Self {
        self.set(name, (amount * UNITS as f64).round() as i64);
        self
    }

    /// Sets the amount of `name` in ten-thousandths; zero removes it.
    pub fn set(&mut self, name: &str, units: i64) {
        if units == 0 {
            self.amounts.remove(name);
        } else {
            self.amounts.insert(name.to_owned(), units);
        }
    }

    /// The amount of `name` in ten-thousandths.
    pub fn units(&self, name: &str) -> i64 {
        self.amounts.get(name).copied().unwrap_or(0)
    }

    /// The amount of `name` in whole units.
    pub fn amount(&self, name: &str) -> f64 {
        self.units(name) as f64 / UNITS as f64
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.amounts.is_empty()
    }

    /// Whether `request` fits into this.
    pub fn covers(&self, request: &Resources) -> bool {
        request
            .amounts
            .iter()
            .all(|(name, units)| *units <= 0 || self.units(name) >= *units)
    }

    /// Adds each amount of `other`.
    pub fn add(&mut self, other: &Resources) {
        for (name, units) in &other.amounts {
            *self.amounts.entry(name.clone()).or_insert(0) += units;
        }
    }

    /// Takes each amount of `other`; an amount may go below zero (see blocked workers).
    pub fn subtract(&mut self, other: &Resources) {
        for (name, units) in &other.amounts {
            *self.amounts.entry(name.clone()).or_insert(0) -= units;
        }
    }

    /// What `request` asks for beyond this, by name in ten-thousandths.
    pub fn shortfall(&self, request: &Resources) -> Resources {
        let mut missing = Resources::none();
        for (name, units) in &request.amounts {
            missing.set(name, (units - self.units(name)).max(0));
        }
        missing
    }

    /// `{CPU: 1, GPU: 0.5}`, for messages to people.
    pub fn describe(&self) -> String {
        let parts: Vec<String> = self
            .amounts
            .iter()
            .map(|(name, units)| format!("{name}: {}", *units as f64 / UNITS as f64))
            .collect();
        format!("{{{}}}", parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenths_add_up_exactly() {
        let tenth = Resources::none().with(CPU, 0.1);
        let mut sum = Resources::none();
        for _ in 0..10 {
            sum.add(&tenth);
        }
        assert_eq!(sum, Resources::none().with(CPU, 1.0));
    }

    #[test]
    fn shortfall_names_what_is_missing() {
        let node = Resources::none().with(CPU, 2.0);
        let request = Resources::none().with(CPU, 1.0).with(GPU, 1.0);
        assert!(!node.covers(&request));
        assert_eq!(node.shortfall(&request).describe(), "{GPU: 1}");
    }
}

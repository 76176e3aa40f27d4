//! Chance from a seed: the only source of it in a simulation.

/// A small generator (splitmix64): the same seed gives the same numbers on every machine.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A generator of its own, so that what one part draws does not change what another one gets.
    pub fn fork(&mut self) -> Self {
        Self::new(self.number())
    }

    /// A number below `bound`, which is at least one.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound.max(1)
    }

    /// A number from `low` to `high`, both of them possible.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// Whether something of this probability, in percent, happens.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of these.
    pub fn pick<'a, T>(&mut self, among: &'a [T]) -> Option<&'a T> {
        if among.is_empty() {
            return None;
        }
        among.get(self.below(among.len() as u64) as usize)
    }

    /// Many random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        for chunk in bytes.chunks_mut(8) {
            let word = self.number().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        bytes
    }

    /// A duration in microseconds: mostly short, rarely long, never above `most`.
    pub fn duration(&mut self, most: u64) -> u64 {
        let bits = 64 - most.leading_zeros() as u64;
        let scale = self.below(bits + 1);
        self.below((1u64 << scale.min(62)).min(most).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let (mut first, mut second) = (Random::new(7), Random::new(7));
        let both = (0..100).all(|_| first.number() == second.number());
        assert!(both);
        assert_ne!(Random::new(7).number(), Random::new(8).number());
    }

    #[test]
    fn durations_stay_below_their_bound() {
        let mut random = Random::new(1);
        assert!((0..10_000).all(|_| random.duration(1000) < 1000));
        assert!((0..100).all(|_| random.between(3, 5) >= 3));
    }
}

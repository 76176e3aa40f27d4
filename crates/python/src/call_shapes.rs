//! Which calls of a function are known to fit its signature.
//!
//! Whether a call fits depends on its shape alone: how many positional arguments, and which names.
//! A program has few shapes per function, so that the signature is asked once for each of them.

use parking_lot::Mutex;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};

/// Shapes that are remembered for one function; a program with more of them asks again.
const REMEMBERED: usize = 32;

/// The shapes of one function that were found to fit.
#[derive(Default)]
pub struct CallShapes {
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// A bit per number of positional arguments, for calls without names.
    positional: u64,
    named: Vec<NamedShape>,
}

struct NamedShape {
    positional: usize,
    /// Compared by identity: the names that a call writes out are interned.
    names: Vec<Py<PyString>>,
}

impl CallShapes {
    /// Whether a call of this shape is known to fit.
    pub fn contains(&self, positional: usize, kwargs: Option<&Bound<'_, PyDict>>) -> bool {
        let seen = self.seen.lock();
        match kwargs {
            None => positional < 64 && seen.positional & (1 << positional) != 0,
            Some(kwargs) => seen.named.iter().any(|shape| shape.is(positional, kwargs)),
        }
    }

    /// Remembers that a call of this shape fits.
    pub fn insert(&self, positional: usize, kwargs: Option<&Bound<'_, PyDict>>) {
        let mut seen = self.seen.lock();
        match kwargs {
            None if positional < 64 => seen.positional |= 1 << positional,
            None => {}
            Some(kwargs) if seen.named.len() < REMEMBERED => {
                let names: Result<Vec<_>, _> = kwargs
                    .keys()
                    .iter()
                    .map(|name| name.cast_into().map(Bound::unbind))
                    .collect();
                if let Ok(names) = names {
                    seen.named.push(NamedShape { positional, names });
                }
            }
            Some(_) => {}
        }
    }
}

impl NamedShape {
    fn is(&self, positional: usize, kwargs: &Bound<'_, PyDict>) -> bool {
        self.positional == positional
            && self.names.len() == kwargs.len()
            && kwargs
                .iter()
                .zip(&self.names)
                .all(|((name, _), known)| name.is(known))
    }
}

//! Which values the interpreter's own pickle can write as well as cloudpickle would, only faster.
//!
//! Those are values of exact built-in types all the way down: nothing in them can be a class or a
//! function of the user's script, which would have to be pickled by value. The look is bounded; a
//! value that is larger than the bound gains nothing from the short way.

use std::ffi::CStr;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFrozenSet, PyList, PySet, PyTuple};
use pyo3::{PyTypeInfo, ffi};

use crate::object_ref::ObjectRef;

/// Items that are looked at before the general serializer is preferred.
const ITEMS: u32 = 500;

/// How deep containers may lie in each other.
const DEPTH: u32 = 16;

/// What a look at a value found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plainness {
    /// Exact built-in types and references only.
    Plain,
    /// The same, and arrays that are worth out-of-band buffers.
    WithArrays,
    /// Something else, or too much of it.
    Other,
}

struct Look {
    items_left: u32,
    arrays: bool,
}

/// Looks at `value` and what is in it.
pub fn look(value: &Bound<'_, PyAny>) -> Plainness {
    let mut look = Look {
        items_left: ITEMS,
        arrays: false,
    };
    if !look.is_plain(value, DEPTH) {
        Plainness::Other
    } else if look.arrays {
        Plainness::WithArrays
    } else {
        Plainness::Plain
    }
}

impl Look {
    fn is_plain(&mut self, value: &Bound<'_, PyAny>, depth_left: u32) -> bool {
        if self.items_left == 0 || depth_left == 0 {
            return false;
        }
        self.items_left -= 1;
        let kind = value.get_type_ptr();
        if is_plain_scalar(value, kind) {
            return true;
        }
        let depth_left = depth_left - 1;
        if kind == PyTuple::type_object_raw(value.py()) {
            value.cast_exact::<PyTuple>().is_ok_and(|tuple| {
                self.has_room(tuple.len())
                    && tuple
                        .iter_borrowed()
                        .all(|item| self.is_plain(&item, depth_left))
            })
        } else if kind == PyList::type_object_raw(value.py()) {
            value.cast_exact::<PyList>().is_ok_and(|list| {
                self.has_room(list.len())
                    && list.iter().all(|item| self.is_plain(&item, depth_left))
            })
        } else if kind == PyDict::type_object_raw(value.py()) {
            value.cast_exact::<PyDict>().is_ok_and(|dict| {
                self.has_room(dict.len())
                    && dict.iter().all(|(key, item)| {
                        self.is_plain(&key, depth_left) && self.is_plain(&item, depth_left)
                    })
            })
        } else if let Ok(set) = value.cast_exact::<PySet>() {
            self.has_room(set.len()) && set.iter().all(|item| self.is_plain(&item, depth_left))
        } else if let Ok(set) = value.cast_exact::<PyFrozenSet>() {
            self.has_room(set.len()) && set.iter().all(|item| self.is_plain(&item, depth_left))
        } else if kind == ObjectRef::type_object_raw(value.py()) {
            true
        } else {
            self.is_array(value, kind)
        }
    }

    fn has_room(&self, items: usize) -> bool {
        items <= self.items_left as usize
    }

    fn is_array(&mut self, value: &Bound<'_, PyAny>, kind: *mut ffi::PyTypeObject) -> bool {
        let py = value.py();
        // A name proves nothing about a class of the user's: only static types are believed.
        // SAFETY: `kind` is the type of a live object, and its name lives as long as it does.
        let (flags, name) = unsafe { ((*kind).tp_flags, CStr::from_ptr((*kind).tp_name)) };
        if flags & ffi::Py_TPFLAGS_HEAPTYPE != 0 {
            return false;
        }
        let Some(name) = name.to_bytes().strip_prefix(b"numpy.") else {
            return false;
        };
        if name != b"ndarray" {
            let numbers: [&[u8]; 5] = [b"float", b"int", b"uint", b"bool", b"complex"];
            return numbers.iter().any(|number| name.starts_with(number));
        }
        let has_objects = value
            .getattr(intern!(py, "dtype"))
            .and_then(|dtype| dtype.getattr(intern!(py, "hasobject")))
            .and_then(|has_objects| has_objects.is_truthy());
        self.arrays = true;
        matches!(has_objects, Ok(false))
    }
}

fn is_plain_scalar(value: &Bound<'_, PyAny>, kind: *mut ffi::PyTypeObject) -> bool {
    // SAFETY: only addresses of the interpreter's static types are taken.
    unsafe {
        kind == &raw mut ffi::PyUnicode_Type
            || kind == &raw mut ffi::PyLong_Type
            || kind == &raw mut ffi::PyFloat_Type
            || value.as_ptr() == ffi::Py_None()
            || kind == &raw mut ffi::PyBool_Type
            || kind == &raw mut ffi::PyBytes_Type
            || kind == &raw mut ffi::PyComplex_Type
    }
}

//! Metrics of the user's program.

use pyo3::exceptions::{PyKeyError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString};
use smallvec::SmallVec;
use whipray_proto::messages::metrics::MetricKind;
use whipray_worker::{Definition, MetricNumber, metrics};

use crate::connection;

/// One metric of this process, whatever it is connected to.
#[pyclass(frozen, module = "whipray._core")]
pub struct Metric {
    /// `None` where there are too many.
    number: Option<MetricNumber>,
    tag_keys: Vec<Py<PyString>>,
}

#[pymethods]
impl Metric {
    #[new]
    fn new(
        py: Python<'_>,
        kind: &str,
        name: String,
        description: String,
        tag_keys: Vec<String>,
        boundaries: Vec<f64>,
    ) -> PyResult<Self> {
        let kind = match kind {
            "counter" => MetricKind::Counter,
            "gauge" => MetricKind::Gauge,
            "histogram" => MetricKind::Histogram,
            other => {
                return Err(PyValueError::new_err(format!(
                    "no kind of a metric: {other:?}"
                )));
            }
        };
        let keys = tag_keys.iter();
        let keys = keys.map(|key| PyString::intern(py, key).unbind()).collect();
        let number = metrics::register(Definition {
            name,
            description,
            kind,
            tag_keys,
            boundaries,
        });
        if let Some(connection) = connection::find() {
            py.detach(|| connection.runtime.announce_metrics());
        }
        Ok(Self {
            number,
            tag_keys: keys,
        })
    }

    /// Add to a counter, set a gauge, or count a value of a histogram. Tags that the metric has no key
    /// for are left out.
    ///
    /// Raises KeyError where one is missing.
    fn record(&self, value: f64, tags: &Bound<'_, PyDict>) -> PyResult<()> {
        let Some(number) = self.number else {
            return Ok(());
        };
        // To look a key up may run code of the user's, which the lock must not wait for.
        let mut values: SmallVec<[Bound<'_, PyString>; 4]> = SmallVec::new();
        for key in &self.tag_keys {
            let value = tags.get_item(key)?;
            let value = value.ok_or_else(|| PyKeyError::new_err(key.clone_ref(tags.py())))?;
            values.push(value.cast_into::<PyString>()?);
        }
        metrics::record(number, value, |written| {
            for value in &values {
                written.push(value.to_str()?);
            }
            Ok(())
        })
    }
}

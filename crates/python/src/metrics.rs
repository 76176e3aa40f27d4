//! Metrics of the user's program.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};
use whipray_proto::messages::metrics::MetricKind;
use whipray_worker::{Definition, MetricNumber, metrics};

use crate::connection;

/// One metric of this process, whatever it is connected to.
#[pyclass(frozen, module = "whipray._core")]
pub struct Metric {
    /// `None` where there are too many.
    number: Option<MetricNumber>,
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
        Ok(Self { number })
    }

    /// Add to a counter, set a gauge, or count a value of a histogram, under these values of its tags
    /// in the order of their keys.
    fn record(&self, tags: &Bound<'_, PyTuple>, value: f64) -> PyResult<()> {
        let Some(number) = self.number else {
            return Ok(());
        };
        metrics::record(number, value, |written| {
            for tag in tags.iter_borrowed() {
                written.push(tag.cast::<PyString>()?.to_str()?);
            }
            Ok(())
        })
    }
}

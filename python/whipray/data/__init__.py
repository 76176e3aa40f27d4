"""Tables whose blocks are objects of the cluster: what other libraries exchange dataframes by."""

from whipray.data.dataset import Dataset, MaterializedDataset, Schema
from whipray.data.read_api import from_pandas, from_pandas_refs

__all__ = ["Dataset", "MaterializedDataset", "Schema", "from_pandas", "from_pandas_refs"]

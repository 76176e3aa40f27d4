"""Functions for ``init(_tracing_startup_hook=...)``, which set up tracing in each process."""

"""What the test-suite needs around the engine: drivers, processes, waiting, leaks."""

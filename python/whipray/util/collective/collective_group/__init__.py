"""What groups of processes are made of, one module for each backend."""

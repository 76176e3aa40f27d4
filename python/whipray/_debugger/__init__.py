"""Breakpoints in tasks and actors, which the command ``whipray debug`` attaches to."""

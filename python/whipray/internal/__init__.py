"""Interventions into the engine that a program seldom needs."""

from whipray._private.internal_api import free

__all__ = ["free"]

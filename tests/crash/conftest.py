"""Fixtures of the crash tests."""

from tests.crash.processes import roles

__all__ = ["roles"]

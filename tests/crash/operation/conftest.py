"""Fixtures of these tests."""

from tests.crash.operation.hosts import host

__all__ = ["host"]

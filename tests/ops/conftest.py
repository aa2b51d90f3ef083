"""Fixtures of the tests of ops/."""

from tests.ops.parts import host

__all__ = ["host"]

"""Fixtures of these tests."""

from collections.abc import Iterator

import pytest

from tests.crash.processes import roles
from tests.telemetry.collector import Collector

__all__ = ["roles"]


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Return a collector that takes everything."""
    with Collector() as started:
        yield started

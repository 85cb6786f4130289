"""How Hypothesis runs (no deadline, few examples, the same ones every time on CI), and which tests may run beside one another."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "voxdrive",
    deadline=None,
    max_examples=40,
    derandomize="CI" in os.environ,
    # tmp_path is shared by the examples of one test; each example writes over the last one's files
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("voxdrive")

_IN_REAL_TIME = "experiment"  # windows, triggers and kills: one after another, so that none disturbs another's timing


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep a file's tests in one process, as they share what they made; all that runs in real time is in one as well."""
    for item in items:
        folder = Path(item.path).parent.name
        item.add_marker(pytest.mark.xdist_group(folder if folder == _IN_REAL_TIME else str(item.path)))

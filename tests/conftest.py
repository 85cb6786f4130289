"""How Hypothesis runs (no deadline, few examples, the same ones every time on CI), and which tests may run beside one another."""

import os

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

settings.register_profile(
    "voxdrive",
    deadline=None,
    max_examples=40,
    derandomize="CI" in os.environ,
    # tmp_path is shared by the examples of one test; each example writes over the last one's files
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("voxdrive")

_IN_REAL_TIME = "tests/experiment/"  # windows, triggers and kills: one after another, so that none disturbs another's timing


class _ByFile(LoadScopeScheduling):
    """Keeps a file's tests in one process, as they share what they made; all that runs in real time is in one as well."""

    def _split_scope(self, nodeid: str) -> str:
        return _IN_REAL_TIME if nodeid.startswith(_IN_REAL_TIME) else nodeid.split("::", maxsplit=1)[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> _ByFile:
    """Share tests out by file."""
    return _ByFile(config, log)

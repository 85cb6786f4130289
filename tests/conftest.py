"""How Hypothesis runs: no deadline (a disk may be slow), few examples, and the same ones every time on CI."""

import os

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

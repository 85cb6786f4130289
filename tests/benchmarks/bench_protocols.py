"""The published counts and rules over many seeds: python -m tests.benchmarks.bench_protocols [--seeds 1000]"""

import argparse
import hashlib
import os
import time
from concurrent.futures import ProcessPoolExecutor

from tests.benchmarks.report import print_table
from tests.experiment.published import TABLES, find_broken_rules, plan_subject

_CHUNK = 20


def try_seeds(name: str, first: int, count: int) -> tuple[int, int]:
    """Return how many of the seeds break a rule, and how many give other bytes the second time (every tenth is planned twice)."""
    broken = other = 0
    for seed in range(first, first + count):
        runs = plan_subject(name, seed)
        broken += bool(find_broken_rules(name, runs))
        if seed % 10 == 0:
            other += hash_runs(runs) != hash_runs(plan_subject(name, seed))
    return broken, other


def hash_runs(runs: list) -> str:
    """Return the sha256 of all tables."""
    return hashlib.sha256("".join(run.trials.to_csv() for run in runs).encode()).hexdigest()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000)
    seeds = parser.parse_args().seeds
    rows = []
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for name in TABLES:
            begun = time.perf_counter()
            firsts = range(0, seeds, _CHUNK)
            found = list(pool.map(try_seeds, [name] * len(firsts), firsts, [min(_CHUNK, seeds - first) for first in firsts]))
            rows.append((name, seeds, sum(one for one, _ in found), sum(one for _, one in found), time.perf_counter() - begun))
    print_table("Shipped protocols, one subject each", ("protocol", "seeds", "break a rule", "not the same twice", "seconds"), rows)


if __name__ == "__main__":
    main()

"""A RoiTable and a question in; how often the same analysis claims something where nothing can be, on these very data, out.

Either which image belongs to which condition and target is drawn anew, for all subjects alike: responses, their reliability, differences
of subjects, runs that are missing and the size of every set stay as they are, and only what the claims are about is gone. Or BOLD was
slid against its events (`analysis shift`), and nothing that an image did is left. By its rule the analysis may claim something in at most
alpha of such draws. Much more would say that these data break what it assumes.
"""

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from analysis.group import Question, analyze
from analysis.prevalence import find_exact
from protocols.cluster import InProcess, Workers
from protocols.errors import InputError
from protocols.roi_table import RoiTable

_SEED = 0
LABELS, EVENTS = "with image labels drawn at random", "with BOLD slid against events"


@dataclass(frozen=True)
class SelfTest:
    """In how many draws of what (`LABELS` or `EVENTS`) anything was claimed, with the exact 95 % interval of the share."""

    what: str
    draws: int
    claimed: int
    low: float
    high: float

    def describe(self, alpha: float) -> str:
        """Say it in words."""
        share = f"{self.claimed} of {self.draws} ({self.claimed / self.draws:.1%}, 95 % interval {self.low:.1%} to {self.high:.1%})"
        verdict = "more than the rule allows: do not trust its claims here" if self.low > alpha else f"the rule allows {alpha:.0%}"
        return f"{self.what}, the same analysis of these data claims something in {share}; {verdict}"


def shuffle_labels(table: RoiTable, rng: np.random.Generator) -> RoiTable:
    """Give every image the condition and target of another one, the same for all subjects, sessions, runs and ROIs."""
    images = table.table.drop_duplicates("stim_id").set_index("stim_id")[["condition", "target"]]
    drawn = images.iloc[rng.permutation(len(images))].set_axis(images.index)
    labels = drawn.loc[table.table["stim_id"]]
    return replace(table, table=table.table.assign(condition=labels["condition"].to_numpy(), target=labels["target"].to_numpy()))


def run_self_test(table: RoiTable, question: Question, draws: int, workers: Workers | None = None) -> SelfTest:
    """Analyze `draws` shuffled tables and count those with a claim; `workers` do it, this process where there are none.

    Raises
    ------
    InputError
        When there is no draw, or nothing was planned, so that nothing could be claimed.
    """
    if draws < 1 or not question.planned:
        raise InputError("--self-test: needs a plan (--protocol or --lock) and at least one draw; without a plan nothing is ever claimed")
    found = (workers or InProcess()).run(functools.partial(_claims_of_draw, table=table, question=question), range(draws))
    return _summarize([claims for _, claims in found], LABELS)


def count_claims(tables: Iterable[RoiTable], question: Question, what: str) -> SelfTest:
    """Analyze tables in which nothing can be, and count those with a claim."""
    return _summarize([_claims(table, question) for table in tables], what)


def _summarize(found: Sequence[bool], what: str) -> SelfTest:
    low, high = find_exact(sum(found), len(found), 0.95).tolist()
    return SelfTest(what, len(found), sum(found), low, high)


def _claims_of_draw(draw: int, table: RoiTable, question: Question) -> bool:
    return _claims(shuffle_labels(table, np.random.default_rng([_SEED, draw])), question)


def _claims(table: RoiTable, question: Question) -> bool:
    tests = analyze(table, question).tests
    return bool(tests.loc[tests["family"] != "gate", "claimed"].any())

"""The self-test: labels are drawn for all alike, claims vanish with them, and an analysis that claims too often is found out."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from analysis.group import Question
from analysis.self_test import LABELS, SelfTest, run_self_test, shuffle_labels
from protocols.errors import InputError
from tests.analysis.planted import make_protocol
from tests.analysis.program import run_analysis
from tests.analysis.tables import draw_table

PLANNED = Question(make_protocol().contrasts, planned=True, alpha=0.05)


def test_labels_are_drawn_for_all_alike_and_sets_keep_their_size() -> None:
    table = draw_table(np.random.default_rng(0), subjects=3, runs=2)
    shuffled = shuffle_labels(table, np.random.default_rng(1))
    names = ["stim_id", "condition", "target"]
    images, drawn = (one.table.drop_duplicates(names)[names] for one in (table, shuffled))
    assert len(drawn) == len(images)
    assert sorted(drawn.groupby(names[1:]).size()) == sorted(images.groupby(names[1:]).size())
    assert (drawn["condition"].to_numpy() != images["condition"].to_numpy()).mean() > 0.3
    assert shuffled.table["response_psc"].equals(table.table["response_psc"])


@pytest.mark.slow
def test_a_strong_effect_is_claimed_and_its_shuffled_labels_are_not() -> None:
    table = draw_table(np.random.default_rng(2), subjects=3, effect=2.0, subject_sd=0.1)
    found = run_self_test(table, PLANNED, 40)
    assert found.claimed <= 6
    assert found.low <= 0.05 < found.high


def test_words_say_when_claims_are_not_to_be_trusted() -> None:
    assert (
        SelfTest(LABELS, 100, 30, 0.21, 0.40)
        .describe(0.05)
        .endswith("in 30 of 100 (30.0%, 95 % interval 21.0% to 40.0%); more than the rule allows: do not trust its claims here")
    )
    assert SelfTest(LABELS, 100, 4, 0.01, 0.10).describe(0.05).endswith("the rule allows 5%")


def test_draws_that_come_back_in_another_order_count_the_same() -> None:
    class Backwards:
        """Does the last draw first, each in a copy that went through pickle."""

        def run(self, function, jobs):
            for index in reversed(range(len(jobs))):
                yield index, pickle.loads(pickle.dumps(function))(jobs[index])

    table = draw_table(np.random.default_rng(5), subjects=2, rois=("V3", "LO"), per_set=2)
    assert run_self_test(table, PLANNED, 2, Backwards()) == run_self_test(table, PLANNED, 2)


def test_a_cluster_with_nothing_to_do_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--cluster: sends the draws of --self-test elsewhere"):
        run_analysis("group", tmp_path / "roi_table.tsv", "--contrast", "target - natural", "--cluster", "local:2", "--out", tmp_path / "g")


@pytest.mark.slow
def test_other_processes_count_the_same(tmp_path: Path) -> None:
    draw_table(np.random.default_rng(4), subjects=3, rois=("V3", "LO"), per_set=4).write(tmp_path / "roi_table.tsv")
    make_protocol().write(tmp_path / "plan.json")
    run = ("group", tmp_path / "roi_table.tsv", "--protocol", tmp_path / "plan.json", "--self-test", 6)
    run_analysis(*run, "--out", tmp_path / "here")
    run_analysis(*run, "--cluster", "local:2", "--out", tmp_path / "there")
    assert (tmp_path / "here" / "group.json").read_text() == (tmp_path / "there" / "group.json").read_text()


def test_nothing_planned_is_nothing_to_test() -> None:
    table = draw_table(np.random.default_rng(3), subjects=2)
    for question, draws in ((Question(PLANNED.contrasts, planned=False, alpha=0.05), 5), (PLANNED, 0)):
        with pytest.raises(InputError, match="--self-test: needs a plan"):
            run_self_test(table, question, draws)


def test_the_verb_and_the_page_tell_it(tmp_path: Path) -> None:
    draw_table(np.random.default_rng(4), subjects=3, rois=("V3", "LO"), per_set=4).write(tmp_path / "roi_table.tsv")
    make_protocol().write(tmp_path / "plan.json")
    run = ("group", tmp_path / "roi_table.tsv", "--protocol", tmp_path / "plan.json", "--self-test", 3)
    words = "With image labels drawn at random, the same analysis of these data claims something in 0 of 3"
    assert words[1:] in run_analysis(*run, "--out", tmp_path / "group")
    run_analysis("report", tmp_path / "group")
    assert words in (tmp_path / "group" / "report.html").read_text()

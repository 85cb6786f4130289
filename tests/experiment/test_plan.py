from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from experiment.cells import find_cells
from experiment.deal import deal_images
from experiment.order import choose_apart, order_images
from experiment.plan import plan_trials
from experiment.rules import check_run
from experiment.slots import count_probes
from protocols.errors import InputError
from protocols.trials import BLANK
from tests.experiment.conftest import CELLS, make_protocol, make_table

TIMINGS = st.sampled_from([(0.8, 1.0, 1.0), (1.6, 3.0, 1.0), (2.0, 0.5, 4.0), (1.0, 1 / 3, 2.1)])


@st.composite
def legal_plans(draw):
    """A protocol, a table and a seed whose counts can be laid out."""
    cells = draw(st.sampled_from([CELLS, [("natural", None)], [(c, r) for c in ("target", "natural", "scrambled") for r in ("V3", "LO")]]))
    images, repetitions, runs = draw(st.integers(1, 4)), draw(st.integers(1, 5)), draw(st.integers(1, 4))
    fewest = len(cells) * images * repetitions // runs
    assume(fewest >= 1 and -(-repetitions // runs) <= (fewest + 1) // 2)
    blanks = draw(st.integers(0, min(3, fewest)))
    tr_s, image_s, gap_s = draw(TIMINGS)
    protocol = make_protocol(
        conditions=list(dict.fromkeys(condition for condition, _ in cells)),
        timing={"tr_s": tr_s, "image_s": image_s, "gap_s": gap_s, "runs": runs, "repetitions": repetitions, "blanks_per_run": blanks},
        timing__sessions=draw(st.integers(1, 2)),
        timing__lead_in_s=draw(st.sampled_from([0.0, 2.5])),
        timing__lead_out_s=draw(st.sampled_from([0.0, 3.3])),
        probe={"kind": draw(st.sampled_from(["one_back", "fixation"])), "fraction": draw(st.floats(0, 0.4))},
    )
    return protocol, make_table(cells, images), draw(st.integers(0, 99))


def plan(protocol, table, seed, subjects=2):
    return list(plan_trials(protocol, table, "0" * 64, subjects, seed))


@settings(max_examples=60, deadline=None)
@given(legal_plans())
def test_every_legal_plan_is_balanced_in_time_and_without_unintended_repeats(legal):
    protocol, table, seed = legal
    runs = plan(protocol, table, seed)
    timing = protocol.timing
    assert len(runs) == 2 * timing.sessions * timing.runs
    cell_of = find_cells(protocol, table)
    for subject in ("01", "02"):
        for session in range(1, timing.sessions + 1):
            mine = [run for run in runs if (run.name.subject, run.name.session) == (subject, f"{session:02d}")]
            check_session(protocol, mine, cell_of)
    for run in runs:
        check_counts(protocol, run)


def check_session(protocol, runs, cell_of):
    """Exact repetitions; runs nearly equal in every cell; an image's repetitions as spread over the runs as can be."""
    repetitions, count = protocol.timing.repetitions, protocol.timing.runs
    shown = [first_showings(protocol, run) for run in runs]
    total = Counter(image for images in shown for image in images)
    assert total == dict.fromkeys(cell_of, repetitions)
    for cell in set(cell_of.values()):
        per_run = [sum(cell_of[image] == cell for image in images) for images in shown]
        assert max(per_run) - min(per_run) <= 1
    for image in cell_of:
        assert max(images.count(image) for images in shown) <= -(-repetitions // count)
    assert max(map(len, shown)) - min(map(len, shown)) <= 1
    assert len({run.plan.duration_s for run in runs}) == 1


def first_showings(protocol, run):
    extra = run.trials["probe"] if protocol.probe.kind == "one_back" else 0
    return [
        image for image, skip in zip(run.trials["stim_id"], extra + 0 * run.trials["probe"], strict=True) if image is not None and not skip
    ]


def check_counts(protocol, run):
    timing, trials = protocol.timing, run.trials
    check_run(run, protocol)  # the same rules that `experiment check` applies
    assert np.allclose(trials["onset"], timing.lead_in_s + np.arange(len(trials)) * timing.trial_s, atol=1e-6)
    blanks = (trials["trial_type"] == BLANK).to_numpy()
    assert blanks.sum() == timing.blanks_per_run
    assert not blanks[0]
    assert not (blanks[1:] & blanks[:-1]).any()
    probes = trials["probe"].to_numpy().astype(bool)
    assert probes.sum() == count_probes(protocol, len(first_showings(protocol, run)))
    assert not (probes & blanks).any()
    images = trials["stim_id"].tolist()
    if protocol.probe.kind == "one_back":
        assert not probes[0]
        assert not (probes[1:] & probes[:-1]).any()
        assert all(images[row] == images[row - 1] for row in np.flatnonzero(probes))
    else:
        assert not (probes[~blanks][1:] & probes[~blanks][:-1]).any()
    without = first_showings(protocol, run)
    assert all(one != following for one, following in pairwise(without))
    assert run.plan.volumes == int(np.ceil(run.plan.duration_s / timing.tr_s - 1e-9))
    needed_s = timing.lead_in_s + len(trials) * timing.trial_s + timing.lead_out_s
    assert needed_s <= run.plan.duration_s + 1e-6


def test_durations_are_the_fewest_whole_volumes():
    runs = plan(make_protocol(), make_table(CELLS, 2), 3)
    longest = max(len(run.trials) for run in runs)
    needed_s = 2.0 + longest * 2.0 + 3.0
    assert runs[0].plan.volumes == int(np.ceil(needed_s / 0.8 - 1e-9))


def test_same_seed_same_trials_other_seed_others_and_more_subjects_change_nothing():
    protocol, table = make_protocol(), make_table(CELLS, 3)
    first, again, more, other = plan(protocol, table, 1), plan(protocol, table, 1), plan(protocol, table, 1, 4), plan(protocol, table, 2)
    texts = [[run.trials.to_csv() for run in runs] for runs in (first, again, more, other)]
    assert texts[0] == texts[1] == texts[2][: len(texts[0])]
    assert texts[0] != texts[3]
    assert len(set(texts[2])) == len(texts[2])


def test_cells_follow_one_another_far_more_evenly_than_by_chance():
    protocol = make_protocol(timing__runs=4, timing__repetitions=8, timing__blanks_per_run=0, probe={"fraction": 0})
    table = make_table(CELLS, 3)
    runs = plan(protocol, table, 1, subjects=3)
    cell_of = find_cells(protocol, table)
    names = list(dict.fromkeys(cell_of.values()))

    def deviation(sequences):
        counts = np.zeros((3, 3))
        for sequence in sequences:
            for one, following in pairwise(sequence):
                counts[names.index(one), names.index(following)] += 1
        return ((counts - counts.mean()) ** 2).sum()

    planned = [run.trials["trial_type"].tolist() for run in runs]
    rng = np.random.default_rng(0)
    chance = [deviation([list(rng.permutation(sequence)) for sequence in planned]) for _ in range(200)]
    assert deviation(planned) < np.quantile(chance, 0.01)


def test_probes_are_spread_over_cells():
    protocol = make_protocol(timing__runs=1, timing__repetitions=4, probe={"fraction": 0.25})
    (run,) = plan(protocol, make_table(CELLS, 4), 1, subjects=1)
    probes = run.trials[run.trials["probe"] == 1]
    assert Counter(probes["trial_type"]) == {"target_FFA": 4, "target_V3": 4, "natural": 4}


def test_tight_orders_are_found():
    # five of one image and four others: only one pattern of places has no repeat
    images = ["a"] * 5 + list("bcde")
    for seed in range(20):
        sequence, _ = order_images(images, dict.fromkeys("abcde", "cell"), ["cell"], np.zeros((1, 1)), np.random.default_rng(seed))
        assert sequence[::2] == ["a"] * 5
        assert sorted(sequence) == sorted(images)


def test_unused_conditions_are_left_out():
    protocol = make_protocol(conditions=["natural"])
    runs = plan(protocol, make_table(CELLS, 4), 1)
    assert {trial for run in runs for trial in run.trials["trial_type"]} == {"natural", BLANK}


@pytest.mark.parametrize(
    ("changes", "images", "message"),
    [
        ({"conditions": ["target", "faces"]}, 2, r"no image of condition 'faces', which .* it has 'target', 'natural'"),
        ({"timing__runs": 20}, 2, r"6 images x repetitions 2 make 12 trials for 20 runs; lower 'runs'"),
        ({"conditions": ["natural"], "timing__repetitions": 4}, 1, r"'natural0' stands 2 times in a run of 2 .* lower 'repetitions'"),
        ({"timing__blanks_per_run": 9}, 2, r"blanks_per_run 9 among 6 image trials would stand side by side"),
        ({"timing__gap_s": 0.0}, 2, r"with gap_s 0 a one-back repeat cannot be seen"),
        ({"probe": {"kind": "fixation", "fraction": 0.7}}, 2, r"4 probes among 6 image trials would follow one another; lower 'fraction'"),
    ],
)
def test_impossible_counts_are_refused_in_words(changes, images, message):
    with pytest.raises(InputError, match=message):
        plan(make_protocol(**changes), make_table(CELLS, images), 1)


@given(st.integers(0, 12), st.data())
def test_choose_apart_never_takes_neighbors(length, data):
    count = data.draw(st.integers(0, (length + 1) // 2))
    chosen = sorted(choose_apart(length, count, np.random.default_rng(data.draw(st.integers(0, 9)))))
    assert len(chosen) == count
    assert all(0 <= position < length for position in chosen)
    assert all(following - one > 1 for one, following in pairwise(chosen))


def test_dealing_gives_every_image_to_different_runs():
    dealt = deal_images({"one": ["a", "b", "c"], "two": ["d", "e"]}, 4, 4, np.random.default_rng(1))
    assert all(sorted(images) == list("abcde") for images in dealt)

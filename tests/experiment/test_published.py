"""The shipped protocols keep what their papers say, whatever the seed."""

import dataclasses

import pandas as pd
import pytest

from experiment.cells import find_cells
from experiment.plan import plan_trials
from experiment.rules import check_presentations, check_run
from protocols.errors import InputError
from protocols.trials import TrialList
from tests.experiment.conftest import make_table
from tests.experiment.published import (
    FOLDER,
    RUNS,
    SIZE_DEG,
    TABLES,
    TR_S,
    count_presentations,
    find_broken_rules,
    plan_subject,
    read_protocol,
)

SEEDS = 5  # make bench-scanner takes a thousand


def test_every_shipped_protocol_is_looked_at():
    assert {path.stem for path in FOLDER.glob("*.toml")} - {"demo"} == set(TABLES) == set(RUNS)


@pytest.mark.parametrize("name", TABLES)
def test_published_counts_and_rules_hold(name):
    protocol = read_protocol(name)
    assert protocol.screen.size_deg == SIZE_DEG.get(name, 8.4)
    assert protocol.timing.tr_s == TR_S.get(name, protocol.timing.tr_s)
    assert protocol.citation
    for seed in range(SEEDS):
        runs = plan_subject(name, seed)
        assert find_broken_rules(name, runs) == []
        for run in runs:
            check_run(run, protocol)  # what `experiment check` looks at
        check_presentations(runs, protocol, find_cells(protocol, TABLES[name]))


@pytest.mark.parametrize("name", TABLES)
def test_same_seed_same_bytes_other_seed_others(name):
    texts = [[run.trials.to_csv() for run in plan_subject(name, seed)] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize(("name", "added"), [("nsd_core", False), ("nsd_synthetic", True), ("bold5000", False), ("things", True)])
def test_images_are_shown_equally_often(name, added):
    counts = count_presentations(plan_subject(name, 3), added).values()
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize("seed", range(4))
def test_latin_square_copes_with_cells_of_other_sizes(seed):
    protocol = dataclasses.replace(read_protocol("roi_validation"), conditions=("target", "natural"), contrasts=())
    table = pd.concat([make_table([("target", "V1"), ("target", "V4")], 5), make_table([("natural", None)], 11)], ignore_index=True)
    runs = list(plan_trials(protocol, table, "0" * 64, 1, seed))
    cells = [[row.trial_type for row in run.trials.itertuples() if row.trial_type != "blank" and not row.probe] for run in runs]
    for run in cells:
        for start in range(0, len(run) // 4 * 4 - 4, 4):
            assert sorted(run[start : start + 4]) == ["natural", "natural", "target_V1", "target_V4"]
    check_presentations(runs, protocol, find_cells(protocol, table))


def edit(run, row, **cells):
    table = run.trials.copy()
    for column, value in cells.items():
        table.loc[row, column] = value
    return dataclasses.replace(run, trials=table)


@pytest.mark.parametrize(
    ("name", "row", "cells", "words"),
    [
        ("nsd_core", 0, {"trial_type": "natural", "stim_id": "natural0", "stim_file": "stim-natural0_image.png"}, "first 3 and last 4"),
        ("nsd_core", 20, {"trial_type": "blank", "stim_id": None, "stim_file": None, "probe": 0}, "streaks of images"),
        ("nsd_synthetic", 3, {"probe": 1}, "the number of probes"),
        ("floc", 1, {"trial_type": "blank", "stim_id": None, "stim_file": None, "probe": 0}, "in blocks of 12"),
        ("bold5000", 4, {"probe": 0}, "the number of probes"),
        ("rnc", 0, {"onset": 11.5}, "the first trial is not at lead_in_s = 12 s"),
        ("things", 91, {"onset": 415.0}, "not on the grid of trials of 4.5 s"),
        ("things", 1, {"duration": 0.7}, "durations are not image_s = 0.5 s"),
    ],
)
def test_rules_find_what_an_editor_broke(name, row, cells, words):
    run = plan_subject(name, 1)[0]
    with pytest.raises(InputError, match=words):
        check_run(edit(run, row, **cells), read_protocol(name))


def test_swapped_blocks_are_no_longer_counterbalanced():
    run = plan_subject("floc", 1)[0]
    table = run.trials.copy()
    kinds = table["trial_type"].tolist()
    starts = [place for place in range(1, len(kinds) - 12) if kinds[place] != "blank" and kinds[place : place + 12] == [kinds[place]] * 12]
    first = starts[0]
    last = next(place for place in reversed(starts) if kinds[place] != kinds[first])
    columns = ["trial_type", "stim_id", "stim_file", "probe"]
    here, there = table.loc[first : first + 11, columns].to_numpy(), table.loc[last : last + 11, columns].to_numpy()
    table.loc[first : first + 11, columns], table.loc[last : last + 11, columns] = there, here
    with pytest.raises(InputError, match="blocks do not follow one another equally often"):
        check_run(TrialList(run.name, table, run.plan), read_protocol("floc"))


def test_unequal_presentations_are_found():
    protocol, runs = read_protocol("bold5000"), plan_subject("bold5000", 1)
    other = runs[1].trials["stim_id"][0]
    changed = [edit(runs[0], row, stim_id=other, stim_file=f"stim-{other}_image.png") for row in (0,)]
    with pytest.raises(InputError, match="images are shown 0 to 2 times, not equally"):
        check_presentations([*changed, *runs[1:]], protocol, find_cells(protocol, TABLES["bold5000"]))

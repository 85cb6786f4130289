"""A choice of images: the best by the weighted sum of drive, diversity and balance; controls go with their target images."""

import dataclasses
from itertools import combinations, product

import numpy as np
import pandas as pd
import pytest

from protocols.errors import InputError
from protocols.stimulus_set import StimulusSet
from stimgen.select_images import Candidates, Weights, find_companions, read_candidates, select_images
from stimgen.set_tables import read_scores
from tests.stimgen.conftest import run_stimgen
from tests.stimgen.small_set import write_set


def make_candidates(seed=1, per_target=5, targets=("V3", "LO"), gate=None):
    rng = np.random.default_rng(seed)
    count = per_target * len(targets)
    thumbnails = rng.standard_normal((count, 6))
    table = pd.DataFrame({"stim_id": [f"i{row}" for row in range(count)], "target": np.repeat(targets, per_target)})
    if gate is not None:
        table["gate"] = gate
    normed = thumbnails / np.linalg.norm(thumbnails, axis=1, keepdims=True)
    return Candidates(table, rng.normal(3, 1, count), normed, rng.standard_normal((count, 2)))


def test_drive_alone_takes_the_strongest_of_each_target():
    candidates = make_candidates()
    chosen = select_images(candidates, 2, Weights(0.0, 0.0))
    for target, start in (("V3", 0), ("LO", 5)):
        strongest = np.argsort(-candidates.drive[start : start + 5])[:2] + start
        assert sorted(chosen[target]) == sorted(strongest)


def rate_by_hand(candidates, chosen, weights):
    every = [index for indices in chosen for index in indices]
    cosines = [np.mean([1 - candidates.thumbnails[a] @ candidates.thumbnails[b] for a, b in combinations(some, 2)]) for some in chosen]
    imbalance = np.abs(candidates.light[list(chosen[0])].mean(axis=0) - candidates.light[list(chosen[1])].mean(axis=0)).max()
    return candidates.drive[every].mean() + weights.diversity * np.mean(cosines) - weights.balance * imbalance


@pytest.mark.parametrize("weights", [Weights(1.0, 1.0), Weights(5.0, 0.0), Weights(0.0, 5.0)])
def test_no_exchange_of_one_image_makes_a_choice_better_and_most_are_the_best_of_all(weights):
    best = 0
    for seed in range(10):
        candidates = make_candidates(seed)
        chosen = select_images(candidates, 2, weights)
        worth = rate_by_hand(candidates, list(chosen.values()), weights)
        assert candidates.rate(chosen, weights) == pytest.approx(worth)
        every = [rate_by_hand(candidates, both, weights) for both in product(combinations(range(5), 2), combinations(range(5, 10), 2))]
        best += worth >= max(every) - 1e-9
        for target, start in (("V3", 0), ("LO", 5)):
            for leaves in chosen[target]:
                for comes in set(range(start, start + 5)) - set(chosen[target]):
                    other = {**chosen, target: [*(one for one in chosen[target] if one != leaves), comes]}
                    assert candidates.rate(other, weights) <= worth + 1e-9
    assert best >= 6


def test_flagged_images_are_taken_only_where_passing_ones_do_not_suffice():
    candidates = dataclasses.replace(make_candidates(gate=["flag", "flag", "pass", "pass", "flag"] * 2), drive=np.arange(10.0)[::-1])
    assert select_images(candidates, 2, Weights(0.0, 0.0)) == {"V3": [2, 3], "LO": [7, 8]}
    assert select_images(candidates, 3, Weights(0.0, 0.0)) == {"V3": [0, 2, 3], "LO": [5, 7, 8]}


def test_more_images_than_a_target_has_are_refused():
    with pytest.raises(InputError, match="target 'V3' has 5 images, 6 are asked for; lower --per-target"):
        select_images(make_candidates(), 6, Weights())


def test_candidates_are_the_target_images_by_judged_drive_and_by_predicted_where_there_is_no_judge(tmp_path):
    made = write_set(tmp_path / "set", count=2)
    candidates = read_candidates(made)
    assert list(candidates.table["stim_id"]) == ["targetV301", "targetV302", "targetLO01", "targetLO02"]
    assert candidates.drive.tolist() == [2, 3, 2, 3]
    np.testing.assert_allclose(candidates.light.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(candidates.thumbnails, axis=1), 1)
    unjudged = dataclasses.replace(made, table=made.table.drop(columns="judged_V3").assign(drive_judged=None))
    assert read_candidates(unjudged).drive.tolist() == [3, 4, 3, 4]
    with pytest.raises(InputError, match="nothing tells what every target image drives"):
        read_candidates(dataclasses.replace(unjudged, table=unjudged.table.assign(drive_predicted=None)))
    with pytest.raises(InputError, match="has no images of condition 'target'"):
        read_candidates(dataclasses.replace(made, table=made.table.assign(condition="natural")))


def test_light_that_is_not_known_of_every_image_does_not_count(tmp_path):
    made = write_set(tmp_path / "set", count=3)
    partly = dataclasses.replace(made, table=made.table.assign(slope=None, saturation=[None, *made.table["saturation"][1:]]))
    candidates = read_candidates(partly)
    assert candidates.light.shape == (6, 2)
    assert {target: len(indices) for target, indices in select_images(candidates, 2, Weights()).items()} == {"V3": 2, "LO": 2}
    controls = dataclasses.replace(made, table=made.table.assign(slope=made.table["slope"].where(made.table["condition"] == "target")))
    assert read_candidates(controls).light.shape == (6, 4)
    with pytest.raises(InputError, match="row 2: slope is 'steep', expected a number"):
        read_candidates(dataclasses.replace(made, table=made.table.assign(slope="steep")))


def test_a_target_image_without_a_target_is_refused(tmp_path):
    made = write_set(tmp_path / "set", count=2)
    named = made.table["target"].where(made.table["stim_id"] != "targetLO01", None)
    with pytest.raises(InputError, match=r"stimuli\.tsv row 4: a target image without a target; name what it was made for"):
        read_candidates(dataclasses.replace(made, table=made.table.assign(target=named)))


def test_drives_of_images_that_were_not_chosen_are_left_out(tmp_path):
    made = write_set(tmp_path / "set", count=3)
    assert run_stimgen("select", made.folder, "--per-target", 1, "--out", tmp_path / "scan").status == 0
    assert list(read_scores(tmp_path / "scan")["stim_id"]) == list(StimulusSet.read(tmp_path / "scan").table["stim_id"])


def test_controls_go_with_their_target_images(tmp_path):
    made = write_set(tmp_path / "set", count=2)
    assert find_companions(made, ["targetLO02"]) == ["targetLO02", "naturalLO02"]


def test_without_a_column_that_ties_them_controls_go_by_source_and_photographs_by_place(tmp_path):
    made = write_set(tmp_path / "set", count=2)
    untied = made.table.drop(columns="control_of").assign(source_image=None)
    assert find_companions(dataclasses.replace(made, table=untied), ["targetLO02"]) == ["targetLO02", "naturalLO02"]
    crossed = untied.assign(source_image=untied["stim_id"].map({"naturalV301": "targetLO02", "naturalLO02": "targetLO01"}).astype(object))
    assert find_companions(dataclasses.replace(made, table=crossed), ["targetLO02"]) == ["targetLO02", "naturalV301"]
    fewer = dataclasses.replace(made, table=untied[untied["stim_id"] != "targetLO02"])
    with pytest.raises(InputError, match=r"row 8: does not tell which target image naturalLO02 is a control of; add a column control_of"):
        find_companions(fewer, ["targetLO01"])


def test_a_selected_set_is_whole_and_keeps_its_recipe(tmp_path):
    made = write_set(tmp_path / "set", count=4)
    finished = run_stimgen("select", made.folder, "--per-target", 2, "--out", tmp_path / "scan")
    assert finished.status == 0, finished.err
    assert "8 of 16 images" in finished.out.replace("\n", " ")
    chosen = StimulusSet.read(tmp_path / "scan")
    chosen.verify()
    assert chosen.table.groupby(["condition", "target"]).size().tolist() == [2, 2, 2, 2]
    targets = set(chosen.table["stim_id"][chosen.table["condition"] == "target"])
    assert set(chosen.table["control_of"].dropna()) == targets
    assert (chosen.folder / "provenance" / "set.json").read_bytes() == (made.folder / "provenance.json").read_bytes()
    assert "diversity" not in chosen.description


def test_what_was_merged_or_selected_can_still_be_made_again(lab, tmp_path):
    assert run_stimgen("select", lab.stimuli, "--per-target", 1, "--out", tmp_path / "scan").status == 0
    places = ("--model", lab.maker, "--judge", lab.judge, "--pool", lab.pool)
    finished = run_stimgen("reproduce", tmp_path / "scan", "targetLO01", "naturalV301", *places)
    assert finished.status == 0, finished.err
    assert run_stimgen("check", tmp_path / "scan").status == 0

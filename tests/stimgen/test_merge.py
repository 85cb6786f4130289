"""Sets put together keep their images, rows, drives and recipes; sets that cannot stand together are refused."""

import dataclasses

import pytest

from protocols.provenance import Provenance
from protocols.stimulus_set import StimulusSet
from stimgen.merge import merge_descriptions
from stimgen.reproduce import RECIPES
from stimgen.set_tables import read_ascent, read_scores
from tests.stimgen.conftest import run_stimgen
from tests.stimgen.small_set import write_set


def test_a_merged_set_holds_all_images_and_what_is_told_of_them(tmp_path):
    first = write_set(tmp_path / "a" / "set", targets=("V3",), subjects="01")
    second = write_set(tmp_path / "b" / "set", targets=("LO", "EBA"), count=2, seed=2)
    finished = run_stimgen("merge", first.folder, second.folder, "--out", tmp_path / "all")
    assert finished.status == 0, finished.err
    merged = StimulusSet.read(tmp_path / "all")
    merged.verify()
    assert list(merged.table["stim_id"]) == [*first.table["stim_id"], *second.table["stim_id"]]
    assert merged.table["subjects"].isna().sum() == len(second.table)
    for one in (first, second):
        for name in one.table["stim_file"]:
            assert (merged.folder / name).read_bytes() == (one.folder / name).read_bytes()
    assert merged.description["diversity"] == {"V3": 0.5, "LO": 0.5, "EBA": 0.5}
    assert merged.description["models"] == ["m"]
    assert len(read_scores(merged.folder)) == len(merged.table)
    assert len(read_ascent(merged.folder)) == 2


def test_the_recipes_of_both_are_kept_also_where_sets_share_a_name_and_through_a_second_merge(tmp_path):
    sets = [write_set(tmp_path / name / "set", targets=(target,)) for name, target in (("a", "V3"), ("b", "LO"), ("c", "EBA"))]
    assert run_stimgen("merge", sets[0].folder, sets[1].folder, "--out", tmp_path / "two").status == 0
    assert run_stimgen("merge", tmp_path / "two", sets[2].folder, "--out", tmp_path / "three").status == 0
    recipes = [Provenance.read_file(path) for path in sorted((tmp_path / "three" / RECIPES).glob("*.json"))]
    made = [one for one in recipes if one.command == "stimgen generate"]
    assert sorted(one.config["targets"][0] for one in made) == ["EBA", "LO", "V3"]
    table = StimulusSet.read(tmp_path / "three").table
    for row in table.to_dict("records"):
        assert any(one.outputs.get(row["stim_file"]) == row["sha256"] for one in made)


def test_the_sidecars_photometry_is_what_holds_for_all(tmp_path):
    told = {"gamma": 2.2, "size_deg": 8.0, "most_striped": 0.3}
    first = {**told, "matched": ["slope", "saturation"], "wanted": ["complexity"], "natural_sd": {"slope": 0.2}}
    second = {**told, "matched": ["slope"], "wanted": ["complexity", "edge_density"], "natural_sd": {"slope": 0.4, "saturation": 1.0}}
    for name, photometry in (("V3", first), ("LO", second)):
        write_set(tmp_path / name, targets=(name,), description={"photometry": photometry})
    assert run_stimgen("merge", tmp_path / "V3", tmp_path / "LO", "--out", tmp_path / "all").status == 0
    merged = StimulusSet.read(tmp_path / "all").description["photometry"]
    assert (merged["matched"], merged["wanted"]) == (["slope"], ["complexity"])
    assert merged["natural_sd"] == {"slope": pytest.approx(0.3)}
    assert merged["gamma"] == 2.2


def test_merged_sets_are_named_apart_and_the_levels_of_both_are_kept(tmp_path):
    levels = ({"target": "made", "natural": "of the first"}, {"natural": "of the second", "texture": "its arrangement lost"})
    told = [{"condition": {"Description": "Kind of image", "Levels": some}} for some in levels]
    first = write_set(tmp_path / "a" / "set", targets=("V3",), description=told[0])
    second = write_set(tmp_path / "b" / "set", targets=("LO",), description=told[1])
    merged = merge_descriptions([first, second])
    assert merged["merged_from"] == {"set": first.sha256, "set2": second.sha256}
    assert merged["condition"]["Levels"] == {"target": "made", "natural": "of the first", "texture": "its arrangement lost"}


def test_the_limit_on_stripes_is_the_laxest_and_the_drive_before_matching_is_that_of_all_targets(tmp_path):
    told = [{"most_striped": 0.3, "drive_before_matching": {"V3": {"judged_before": 2.0}}}, {"most_striped": 0.4}, {}]
    sets = [
        write_set(tmp_path / name, targets=(name,), description={"photometry": photometry})
        for name, photometry in zip(("V3", "LO", "EBA"), told, strict=True)
    ]
    assert merge_descriptions(sets[:2])["photometry"]["most_striped"] == 0.4
    assert "most_striped" not in merge_descriptions(sets)["photometry"]
    other = dataclasses.replace(sets[1], description={"photometry": {"drive_before_matching": {"LO": {"judged_before": 1.0}}}})
    lost = merge_descriptions([sets[0], other])["photometry"]["drive_before_matching"]
    assert lost == {"V3": {"judged_before": 2.0}, "LO": {"judged_before": 1.0}}
    assert "drive_before_matching" not in merge_descriptions(sets[1:])["photometry"]


def refuse(tmp_path, first, second, message):
    finished = run_stimgen("merge", first.folder, second.folder, "--out", tmp_path / "all")
    assert finished.status == 1
    assert message in finished.err
    assert not (tmp_path / "all").exists()


def test_two_sets_with_the_same_stim_id_are_refused_also_in_other_capitals(tmp_path):
    first = write_set(tmp_path / "a", targets=("V3", "LO"))
    refuse(
        tmp_path, first, write_set(tmp_path / "b", targets=("EBA", "LO")), "6 stim_id in both, the first is 'targetLO01'; give the targets"
    )
    refuse(tmp_path, first, write_set(tmp_path / "c", targets=("v3",)), "6 stim_id in both, the first is 'targetv301'")
    refuse(tmp_path, first, first, "12 stim_id in both")


def test_sets_of_other_sizes_and_displays_are_refused(tmp_path):
    first = write_set(tmp_path / "a", targets=("V3",))
    refuse(tmp_path, first, write_set(tmp_path / "b", targets=("LO",), side=20), "has images of 16 x 16 px, ")
    bright = write_set(tmp_path / "c", targets=("EBA",), description={"photometry": {"gamma": 1.8}})
    refuse(tmp_path, first, bright, "was made for photometry.gamma = None, ")


def test_a_damaged_set_and_a_single_one_are_refused(tmp_path):
    first, second = write_set(tmp_path / "a", targets=("V3",)), write_set(tmp_path / "b", targets=("LO",))
    finished = run_stimgen("merge", first.folder, "--out", tmp_path / "all")
    assert (finished.status, "merge needs two sets or more" in finished.err) == (1, True)
    second.image_path("targetLO01").unlink()
    refuse(tmp_path, first, second, "image 'stim-targetLO01_image.png' is missing")

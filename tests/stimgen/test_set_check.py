"""The rules of a set: each broken once, each found."""

import numpy as np
import pandas as pd
import pytest

from protocols.errors import InputError
from protocols.stimulus_set import StimulusSet
from stimgen.image_files import write_png
from stimgen.photometry import measure_photometry
from stimgen.set_check import find_broken_rules, list_missed_bounds, measure_set, read_drives, summarize_targets

ROWS = [("target", "V3", 16), ("target", "V3", 16), ("target", "LO", 16), ("natural", "V3", 16), ("scrambled", None, 16)]
DRIVES = {
    "drive_predicted": [4.0, 5.0, 3.0, 1.0, None],
    "drive_judged": [2.0, 1.0, 1.5, 0.5, None],
    "drive_ratio": [0.5, 0.2, 0.5, 0.5, None],
    "drive_percentile": [99.0, 80.0, 97.0, 90.0, None],
    "gate": ["pass", "flag", "pass", "flag", None],
}


def make_set(folder, judged=1.5, contrast=0.2, sizes=(16,) * 5, description=None, **columns):
    """Write a set of noise images, and return it with its true photometry in the table."""
    rows, rng = [], np.random.default_rng(1)
    for number, ((condition, target, _), size) in enumerate(zip(ROWS, sizes, strict=True)):
        image = (0.5 + contrast * rng.uniform(-1, 1, (size, size, 3))).astype(np.float32)
        name = f"stim-a{number}_image.png"
        write_png(image, folder / name)
        saved = np.round(image * 255).astype(np.float32) / 255
        measured = measure_photometry(saved)
        photometry = {"mean_luminance": measured["luminance"], "rms_contrast": measured["contrast"]}
        texts = {"stim_id": f"a{number}", "stim_file": name, "condition": condition, "target": target, "method": "noise", "sha256": "-"}
        numbers = {"seed": None, "width_px": size, "height_px": size, "predicted_V3": 2.0 + number, "judged_V3": judged, "judged_LO": 1.0}
        rows.append({**texts, "source_image": None, **numbers, **photometry})
    return StimulusSet(folder, pd.DataFrame(rows).assign(**columns), description or {})


def find_broken(made):
    return find_broken_rules(made, measure_set(made))


def test_a_set_without_drives_has_the_scores_of_its_targets(tmp_path):
    made = make_set(tmp_path)
    measured = measure_set(made)
    assert find_broken_rules(made, measured) == []
    assert measured["drive_predicted"].tolist()[:2] == [2.0, 3.0]
    assert measured["drive_judged"].tolist()[:4] == [1.5, 1.5, 1.0, 1.5]
    assert np.isnan(measured["drive_predicted"][2])  # the set was not scored for LO
    assert np.isnan(measured["drive_judged"][4])  # an image without a target
    assert measured[["drive_ratio", "drive_percentile", "flagged"]].isna().all(axis=None)
    summary = summarize_targets(made, measured).set_index(["condition", "target"])
    assert summary["images"].to_dict() == {("target", "V3"): 2, ("target", "LO"): 1, ("natural", "V3"): 1, ("scrambled", "n/a"): 1}
    assert summary.loc[("target", "V3"), "drive_predicted"] == 2.5
    assert summary["high_frequency_share"].between(0.5, 1).all()  # white noise
    assert summary[["flagged", "diversity"]].isna().all(axis=None)


def test_the_drives_of_the_table_come_first(tmp_path):
    made = make_set(tmp_path, judged=-9.0, description={"diversity": {"V3": 0.25, "LO": None}}, **DRIVES)
    assert find_broken(made) == []
    summary = summarize_targets(made, measure_set(made)).set_index(["condition", "target"])
    drives = summary.loc[("target", "V3"), ["drive_predicted", "drive_judged", "drive_ratio", "drive_percentile"]]
    assert drives.tolist() == [4.5, 1.5, pytest.approx(0.35), 89.5]
    assert summary["flagged"].tolist()[:3] == [1, 0, 1]
    assert summary["flagged"].isna().tolist() == [False, False, False, True]
    assert summary.loc[("target", "V3"), "diversity"] == 0.25
    assert np.isnan(summary["diversity"].to_numpy()[1:]).all()  # an only image has none, and no control has


def test_drives_are_numbers_whether_the_set_was_read_or_made(tmp_path):
    as_read = make_set(tmp_path, **{name: [None if cell is None else str(cell) for cell in cells] for name, cells in DRIVES.items()})
    pd.testing.assert_frame_equal(read_drives(as_read), read_drives(make_set(tmp_path, **DRIVES)))
    broken = make_set(tmp_path, drive_judged=["1", "2", "much", "1", None])
    with pytest.raises(InputError, match=r"stimuli.tsv row 4: drive_judged is 'much', expected a number"):
        read_drives(broken)


def test_bounds_that_were_missed_are_told(tmp_path):
    missed = {"V3upLOup": ["V3 >= 2.00 (reached 1.20)", "LO >= 2.00 (reached 0.70)"]}
    told = ["target V3upLOup: mean of its images: V3 >= 2.00 (reached 1.20); LO >= 2.00 (reached 0.70)"]
    assert list_missed_bounds(make_set(tmp_path, description={"missed_bounds": missed})) == told
    assert list_missed_bounds(make_set(tmp_path)) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"judged": -0.3}, "target V3: mean judged drive -0.30, no more than the average natural image's; use more steps or models"),
        (
            {**DRIVES, "drive_judged": [-0.5, 0.1, 1.5, 0.5, None]},
            "target V3: mean judged drive -0.20, no more than the average natural image's; use more steps or models",
        ),
        ({"sizes": (16, 16, 20, 16, 16)}, "images of 2 sizes (16 x 16, 20 x 20); make all of one size"),
        ({"contrast": 0.01}, "row 2: a0 is a uniform field (contrast"),
    ],
)
def test_a_broken_rule_is_named(changes, message, tmp_path):
    assert any(message in line for line in find_broken(make_set(tmp_path, **changes)))


def test_a_distance_is_judged_by_its_percentile_as_it_is_never_above_0(tmp_path):
    near = {**DRIVES, "drive_judged": [-0.2, -0.4, 1.5, -0.6, None], "drive_ratio": [None, None, 0.5, None, None]}
    assert find_broken(make_set(tmp_path, **near)) == []
    far = {**near, "drive_percentile": [60.0, 20.0, 97.0, 90.0, None]}
    message = "target V3: by the judges its images do better than 40 % of natural images; use more steps or models"
    assert find_broken(make_set(tmp_path, **far)) == [message]


@pytest.mark.parametrize("column", ["mean_luminance", "rms_contrast"])
def test_a_table_that_disagrees_with_its_files_is_found(column, tmp_path):
    made = make_set(tmp_path)
    table = made.table.copy()
    table.loc[2, column] += 0.01
    (line,) = find_broken(StimulusSet(tmp_path, table, {}))
    assert line.startswith(f"row 4: {column} is")


def test_conditions_that_look_different_break_a_rule_where_the_set_says_what_is_wanted(tmp_path):
    made = make_set(tmp_path)
    assert find_broken(made) == []  # a set of an earlier version says nothing
    told = {"photometry": {"wanted": ["edge_density", "complexity", "saturation", "slope", "rms_contrast"]}}
    broken = find_broken(StimulusSet(tmp_path, made.table, told))
    assert any(line.startswith("conditions target and natural differ") and "mean_luminance" in line for line in broken)
    assert any(line.startswith("targets V3 and LO differ") for line in broken)
    all_wanted = {"photometry": {"wanted": [*told["photometry"]["wanted"], "mean_luminance"]}}
    assert find_broken(StimulusSet(tmp_path, made.table, all_wanted)) == []


def test_uncomfortable_stripes_break_a_rule(tmp_path):
    made = make_set(tmp_path)
    wanted = ["mean_luminance", "rms_contrast", "slope", "saturation", "edge_density", "complexity"]
    axis = np.arange(16) / 16
    stripes = 0.5 + 0.4 * np.sin(2 * np.pi * 3 * axis)
    write_png(np.broadcast_to(stripes[None, :, None], (16, 16, 3)).astype(np.float32), tmp_path / "stim-a1_image.png")
    for limit, found in ((0.2, 1), (2.0, 0)):
        told = StimulusSet(tmp_path, made.table, {"photometry": {"wanted": wanted, "most_striped": limit, "size_deg": 1.0}})
        broken = [line for line in find_broken(told) if "has stripes of contrast" in line]
        assert [line.split(":")[0] for line in broken] == ["row 3"] * found

"""The rules of a set: each broken once, each found."""

import numpy as np
import pandas as pd
import pytest

from protocols.stimulus_set import StimulusSet
from stimgen.image_files import write_png
from stimgen.photometry import mean_luminance, rms_contrast
from stimgen.set_check import find_broken_rules, measure_set, summarize_conditions

ROWS = [("target", "V3", 16), ("target", "V3", 16), ("target", "LO", 16), ("natural", "V3", 16), ("scrambled", None, 16)]


def make_set(folder, judged=1.5, contrast=0.2, sizes=(16,) * 5):
    """Write a set of noise images, and return it with its true photometry in the table."""
    rows, rng = [], np.random.default_rng(1)
    for number, ((condition, target, _), size) in enumerate(zip(ROWS, sizes, strict=True)):
        image = (0.5 + contrast * rng.uniform(-1, 1, (size, size, 3))).astype(np.float32)
        name = f"stim-a{number}_image.png"
        write_png(image, folder / name)
        saved = np.round(image * 255).astype(np.float32) / 255
        photometry = {"mean_luminance": mean_luminance(saved), "rms_contrast": rms_contrast(saved)}
        texts = {"stim_id": f"a{number}", "stim_file": name, "condition": condition, "target": target, "method": "noise", "sha256": "-"}
        numbers = {"seed": None, "width_px": size, "height_px": size, "predicted_V3": 2.0 + number, "judged_V3": judged, "judged_LO": 1.0}
        rows.append({**texts, "source_image": None, **numbers, **photometry})
    return StimulusSet(folder, pd.DataFrame(rows), {})


def test_a_sound_set_breaks_no_rule_and_is_summarized_per_condition_and_target(tmp_path):
    made = make_set(tmp_path)
    measured = measure_set(made)
    assert find_broken_rules(made, measured) == []
    assert measured["own_predicted"].tolist()[:2] == [2.0, 3.0]
    assert np.isnan(measured["own_predicted"][2])  # the set was not scored for LO
    assert np.isnan(measured["own_judged"][4])  # an image without a target
    summary = summarize_conditions(made, measured).set_index(["condition", "target"])
    assert summary["images"].to_dict() == {("target", "V3"): 2, ("target", "LO"): 1, ("natural", "V3"): 1, ("scrambled", "n/a"): 1}
    assert summary.loc[("target", "V3"), "own_predicted"] == 2.5
    assert summary["high_frequency_share"].between(0.5, 1).all()  # white noise


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"judged": -0.3}, "target V3: mean judged drive -0.30, no more than the average natural image's; use more steps or models"),
        ({"sizes": (16, 16, 20, 16, 16)}, "images of 2 sizes (16 x 16, 20 x 20); make all of one size"),
        ({"contrast": 0.01}, "row 2: a0 is a uniform field (contrast"),
    ],
)
def test_a_broken_rule_is_named(changes, message, tmp_path):
    made = make_set(tmp_path, **changes)
    assert any(message in line for line in find_broken_rules(made, measure_set(made)))


@pytest.mark.parametrize("column", ["mean_luminance", "rms_contrast"])
def test_a_table_that_disagrees_with_its_files_is_found(column, tmp_path):
    made = make_set(tmp_path)
    table = made.table.copy()
    table.loc[2, column] += 0.01
    changed = StimulusSet(tmp_path, table, {})
    (line,) = find_broken_rules(changed, measure_set(changed))
    assert line.startswith(f"row 4: {column} is")

"""data/README.md says what the code does: each column with its kind, each setting with its default, one rule a line."""

import ast
import dataclasses
import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError
from pydantic.dataclasses import is_pydantic_dataclass
from pydantic_core import PydanticUndefined

from protocols import events, responses, roi_table, stimulus_set, trials
from protocols.job_queue import JobQueue
from protocols.probe import Probe
from protocols.protocol import Contrast, Exclusions, Protocol, Screen, Trigger
from protocols.provenance import Provenance
from protocols.tables import read_tsv
from protocols.timing import Blocks, Timing
from protocols.trials import RunPlan

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
SECTIONS = {part.split("\n", 1)[0]: part.split("\n", 1)[1] for part in README.split("\n## ")[1:]}
KINDS = {
    "text": "MUST be text",
    "optional text": "MUST be text or n/a",
    "integer": "MUST be a whole number",
    "number": "MUST be a number",
    "optional number": "MUST be a number or n/a",
}


def find_rules(section, name):
    """Return the lines of a section that are about `name`."""
    return [line for line in SECTIONS[section].splitlines() if line.startswith(f"- `{name}` ")]


def read_columns(path, assigned):
    """Return a literal `Columns` mapping from a file of a package that is heavy to import; `**OTHER` is left out."""
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.AnnAssign) and node.target.id == assigned and isinstance(node.value, ast.Dict):
            return {key.value: value.value for key, value in zip(node.value.keys, node.value.values, strict=True) if key is not None}
    raise LookupError(f"{path}: {assigned} is no literal mapping any more")


TABLES = {
    "StimulusSet": stimulus_set.COLUMNS,
    "TrialList": trials.COLUMNS,
    "Events": events.COLUMNS,
    "Regions": {**read_columns("analysis/labels.py", "TABLE_COLUMNS"), **read_columns("analysis/localizer_files.py", "COLUMNS")},
    "RoiTable": {
        **roi_table.COLUMNS,
        **read_columns("analysis/rois.py", "OVERLAP_COLUMNS"),
        **read_columns("analysis/reliability.py", "COLUMNS"),
    },
    "Responses folder": {**responses.TRIAL_COLUMNS, **responses.VOXEL_COLUMNS, **responses.IMAGE_COLUMNS},
    "Natural pool": {**responses.IMAGE_COLUMNS, **read_columns("stimgen/pool.py", "COLUMNS")},
    "EncodingModel": read_columns("stimgen/encoding_model.py", "VOXEL_COLUMNS"),
    "Sweep": {**read_columns("stimgen/sweep_store.py", "TARGET_COLUMNS"), **read_columns("stimgen/sweep_store.py", "IMAGE_COLUMNS")},
    "Similarity": read_columns("stimgen/similarity_study.py", "COLUMNS"),
    "First level": read_columns("analysis/run_betas.py", "COLUMNS"),
    "Quality": {**read_columns("analysis/qc_runs.py", "RUN_COLUMNS"), **read_columns("analysis/qc_runs.py", "ROI_COLUMNS")},
    "Label permutation": read_columns("analysis/permute_runs.py", "COLUMNS"),
    "ROI peaks": {"roi": "text", "hemisphere": "text", "x_mm": "number", "y_mm": "number", "z_mm": "number", "source": "text"},
}


@pytest.mark.parametrize(
    ("section", "column", "kind"), [(section, *column) for section, table in TABLES.items() for column in table.items()]
)
def test_each_column_is_documented_with_its_kind(section, column, kind):
    rules = find_rules(section, column)
    assert rules
    for rule in rules:
        assert re.match(rf"- `{column}` {re.escape(KINDS[kind])}(?! or)", rule)


@pytest.mark.parametrize("column", ["predicted_<roi>", "judged_<roi>"])
def test_the_open_columns_are_documented(column):
    assert f"`{column}`" in SECTIONS["StimulusSet"]


def list_settings():
    sections = {
        Protocol: "Protocol",
        Timing: "Protocol",
        Blocks: "Protocol",
        Screen: "Protocol",
        Trigger: "Protocol",
        Probe: "Protocol",
        Contrast: "Protocol",
        Exclusions: "Protocol",
    }
    for settings, section in {**sections, RunPlan: "TrialList", JobQueue: "Cluster file"}.items():
        for field in dataclasses.fields(settings):
            if not is_table_of_settings(field):
                yield pytest.param(section, settings, field.name, id=f"{settings.__name__}.{field.name}")


def is_table_of_settings(field):
    """Say whether a field is a table of the TOML file and not a setting itself."""
    return is_pydantic_dataclass(field.type) or field.name in ("contrasts", "blocks", "categories")


def show(default):
    """Return a default as the page writes it."""
    if default is None or default == ():
        return "none"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return ", ".join(f"`{one}`" if isinstance(one, str) else str(one) for one in default)
    return f"`{default}`" if isinstance(default, str) else str(default)


@pytest.mark.parametrize(("section", "settings", "name"), list(list_settings()))
def test_each_setting_is_documented_with_its_default(section, settings, name):
    rules = find_rules(section, name)
    assert len(rules) == 1
    default = settings.__pydantic_fields__[name].default
    if default == "":
        assert rules[0].endswith("default empty.")
    elif default is not PydanticUndefined and name not in ("instructions", "format_version"):
        assert rules[0].endswith(f"; default {show(default)}.")
    elif default is PydanticUndefined:
        assert "default" not in rules[0]


UNITS = {"_s": "seconds", "_px": "pixels", "_cm": "centimeters", "_deg": "degrees of visual angle", "_hz": "hertz"}


@pytest.mark.parametrize(("section", "settings", "name"), list(list_settings()))
def test_each_setting_with_a_unit_says_it(section, settings, name):
    for suffix, unit in UNITS.items():
        if name.endswith(suffix):
            assert unit in find_rules(section, name)[0]


@pytest.mark.parametrize("table", ["timing", "blocks", "categories", "screen", "trigger", "probe", "contrasts", "exclusions"])
def test_each_table_of_a_protocol_is_documented(table):
    assert f"[{table}]" in SECTIONS["Protocol"]
    assert table in [field.name for field in dataclasses.fields(Protocol)]


def test_each_key_of_provenance_is_documented():
    assert [field.name for field in dataclasses.fields(Provenance) if not find_rules("provenance.json", field.name)] == []


def test_each_file_array_and_key_of_an_encoding_model_is_documented():
    tree = ast.parse((ROOT / "stimgen/encoding_model.py").read_text(encoding="utf-8"))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    write = next(node for node in classes["EncodingModel"].body if isinstance(node, ast.FunctionDef) and node.name == "write")
    card = next(node.value for node in write.body if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict))
    keys = [key.value for key in card.keys if key is not None]
    arrays = [node.target.id for node in classes["Readout"].body if isinstance(node, ast.AnnAssign)]
    assert {"backbone", "weights_sha256", "layers"} <= set(keys)
    assert len(arrays) == 4
    assert [name for name in keys + arrays if not find_rules("EncodingModel", name)] == []


def test_each_column_of_a_group_result_is_documented():
    from analysis.group_files import COLUMNS, COMPARISONS, MATRIX_COLUMNS

    for columns in (COLUMNS, MATRIX_COLUMNS, COMPARISONS):
        for column, kind in columns.items():
            assert any(re.match(rf"- `{column}` {re.escape(KINDS[kind])}(?! or)", rule) for rule in find_rules("Group result", column)), (
                column
            )


def test_each_column_beside_a_group_result_is_documented():
    from analysis.supplement import FILES

    for columns in FILES.values():
        for column, kind in columns.items():
            rules = find_rules("Subjects and prediction", column)
            assert len(rules) == 1, column
            assert re.match(rf"- `{column}` {re.escape(KINDS[kind])}(?! or)", rules[0]), column


def test_each_key_of_a_lock_is_documented():
    from analysis.lock import ImageSet, Plan

    keys = ["sha256", "created", "code_version", "plan", "images", "set_sha256", "set_provenance_sha256"]
    keys += [field.name for settings in (Plan, ImageSet) for field in dataclasses.fields(settings)]
    assert [key for key in keys if f"`{key}`" not in SECTIONS["Lock"]] == []


def test_each_line_with_a_bullet_is_one_rule():
    rules = [line for line in README.splitlines() if line.startswith("- ")]
    assert len(rules) > 100
    assert [rule for rule in rules if len(re.findall(r"\bMUST\b|\bMAY\b", rule)) != 1 and "further ones MAY" not in rule] == []
    assert [rule for rule in rules if not rule.endswith(".")] == []


def test_the_page_covers_every_noun():
    nouns = ["Output folder", "provenance.json", "TSV", "JSON", "Protocol", "StimulusSet", "Plan folder", "TrialList", "Events"]
    nouns += [
        "Responses folder",
        "Natural pool",
        "Imported layouts",
        "Fit settings",
        "EncodingModel",
        "Targets file",
        "Sweep",
        "Similarity",
        "Surfaces",
        "Page of a cortex",
        "Feature cache",
        "Preprocessed scans",
        "First level",
        "Quality",
        "Regions",
        "RoiTable",
        "Lock",
        "Label permutation",
        "Shifted events",
        "Group result",
        "Subjects and prediction",
        "Cluster file",
        "ROI peaks",
    ]
    assert list(SECTIONS) == nouns


def test_the_peaks_are_mirror_images_and_those_of_the_planted_brain():
    table = read_tsv(ROOT / "data" / "roi_peaks.tsv", TABLES["ROI peaks"])
    sides = [rows.set_index("roi")[["x_mm", "y_mm", "z_mm"]] for _, rows in table.groupby("hemisphere")]
    assert sides[0].assign(x_mm=-sides[0]["x_mm"]).equals(sides[1])
    assert {"V1", "V3", "hV4", "LO", "EBA", "OFA", "FFA", "PPA", "OPA", "RSC"} == set(table["roi"])
    assert table["source"].str.contains("for simulation and display only").all()
    planted = re.findall(r'name="(\w+)".*peak_mm=\(([^)]*)\)', (ROOT / "stimgen/cortex.py").read_text(encoding="utf-8"))
    assert len(planted) == 5
    for roi, peak in planted:
        assert sides[1].loc[roi].tolist() == json.loads(f"[{peak}]")


def test_a_protocol_without_its_required_settings_is_refused():
    with pytest.raises(ValidationError) as refusal:
        Protocol()
    required = {"task", "timing"}
    assert {error["loc"][0] for error in refusal.value.errors()} == required

import json
import shutil

import pytest

from experiment.plan_folder import PlanFolder
from protocols.errors import InputError
from protocols.provenance import Provenance
from protocols.run_name import RunName
from protocols.stimulus_set import StimulusSet
from protocols.trials import TrialList
from tests.experiment.conftest import make_protocol, make_set, run_command, write_plan_folder


def test_plan_is_self_contained_and_complete(plan, tmp_path):
    alone = shutil.copytree(plan, tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "set")
    folder = PlanFolder.read(alone)
    assert folder.protocol == make_protocol()
    assert folder.names == tuple(RunName(subject, "01", "short", run) for subject in ("01", "02") for run in (1, 2))
    folder.stimuli.verify()
    trials = folder.read_run(folder.names[0])
    assert trials.plan.set_sha256 == folder.stimuli.sha256
    provenance = Provenance.read(alone)
    assert provenance.command == "experiment plan"
    assert provenance.seeds == {"seed": 3}
    provenance.verify_outputs(alone)


def test_set_is_copied_byte_for_byte(plan, tmp_path):
    source = {path.name: path.read_bytes() for path in (tmp_path / "set").iterdir()}
    assert {path.name: path.read_bytes() for path in (plan / "stimuli").iterdir()} == source
    assert StimulusSet.read(plan / "stimuli").sha256 == StimulusSet.read(tmp_path / "set").sha256


def test_same_seed_gives_identical_bytes(plan, tmp_path):
    run_command(
        "plan", tmp_path / "protocol.json", "--set", tmp_path / "set", "--subjects", "2", "--seed", "3", "--out", tmp_path / "again"
    )
    files = [path.relative_to(plan) for path in plan.rglob("*") if path.is_file() and path != plan / "provenance.json"]
    assert len(files) == 1 + 9 + 8  # protocol, set (6 images, 3 files), 4 runs of 2 files
    assert all((plan / file).read_bytes() == (tmp_path / "again" / file).read_bytes() for file in files)


def test_plan_prints_runs_minutes_trials(experiment, plan, tmp_path):
    code, out, _ = experiment(
        "plan", tmp_path / "protocol.json", "--set", tmp_path / "set", "--subjects", "3", "--seed", "3", "--out", tmp_path / "new"
    )
    assert code == 0
    assert "probes" in out
    assert "minutes of scanning per subject" in out
    assert f"wrote {tmp_path / 'new'}: 6 runs of 3 subject(s), 6 images, protocol 'short'" in out


def test_runs_of_unequal_trials_are_said_to_end_with_background(experiment, tmp_path):
    make_set(tmp_path / "set", images=3)
    make_protocol(timing__runs=2, timing__repetitions=1).write(tmp_path / "p.json")
    _, out, _ = experiment(
        "plan", tmp_path / "p.json", "--set", tmp_path / "set", "--subjects", "1", "--seed", "1", "--out", tmp_path / "plan"
    )
    assert "runs have 6 to 7 trials; shorter ones end with more background" in out
    lengths = {TrialList.read(path).plan.duration_s for path in (tmp_path / "plan").rglob("*_trials.tsv")}
    assert len(lengths) == 1


def test_smaller_plan_written_over_a_larger_one_has_only_its_own_runs(plan, tmp_path):
    arguments = ["--set", tmp_path / "set", "--subjects", "1", "--seed", "4", "--out", plan]
    assert run_command("plan", tmp_path / "protocol.json", *arguments, "--overwrite") == 0
    assert {name.subject for name in PlanFolder.read(plan).names} == {"01"}
    assert (plan / "sub-02").is_dir()  # nothing is deleted


def test_refusals(experiment, plan, tmp_path):
    command = ["plan", tmp_path / "protocol.json", "--set", tmp_path / "set", "--subjects", "1", "--seed", "1", "--out"]
    code, _, err = experiment(*command, plan)
    assert (code, "is not empty; name another output folder, or give --overwrite" in err) == (1, True)
    (tmp_path / "set" / "stim-natural0_image.png").write_bytes(b"not an image")
    code, _, err = experiment(*command, tmp_path / "out")
    assert (code, "image 'stim-natural0_image.png' cannot be decoded" in err) == (1, True)
    assert not (tmp_path / "out").exists()
    code, _, err = experiment(
        "plan", tmp_path / "protocol.json", "--set", tmp_path, "--subjects", "1", "--seed", "1", "--out", tmp_path / "out"
    )
    assert (code, "has no provenance.json, so it is incomplete" in err) == (1, True)


def test_plan_of_another_set_is_refused(plan, tmp_path):
    make_set(tmp_path / "other", width_px=43)
    shutil.rmtree(plan / "stimuli")
    shutil.copytree(tmp_path / "other", plan / "stimuli")
    folder = PlanFolder.read(plan)
    with pytest.raises(InputError, match=r"was planned for another stimulus set .* copy or make the plan again"):
        folder.read_run(folder.names[0])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (RunName("03", "01", "short", 1), "has no subject '03'; it has 01, 02"),
        (RunName("01", "02", "short", 1), "subject 01 has no session '02'; it has 01"),
        (RunName("01", "01", "short", 3), "subject 01, session 01 has no run 3; it has 1, 2"),
    ],
)
def test_unknown_run_is_named_with_those_there_are(plan, name, message):
    with pytest.raises(InputError, match=message):
        PlanFolder.read(plan).read_run(name)


def test_incomplete_plan_is_refused(plan):
    (plan / "provenance.json").unlink()
    with pytest.raises(InputError, match=r"has no provenance\.json, so it is incomplete"):
        PlanFolder.read(plan)


def test_demo_protocol_plans(tmp_path):
    from pathlib import Path

    from experiment.plan import plan_trials
    from protocols.protocol import Protocol
    from tests.experiment.conftest import make_table

    protocol = Protocol.read(Path(__file__).parents[2] / "protocols" / "demo.toml")
    cells = [(condition, roi) for condition in protocol.conditions for roi in ("V3", "LO", "EBA", "FFA", "RSC")]
    runs = list(plan_trials(protocol, make_table(cells, 2), "0" * 64, 1, 1))
    assert len(runs) == protocol.timing.runs
    assert json.loads(json.dumps([run.plan.volumes for run in runs])) == [runs[0].plan.volumes] * len(runs)


def test_fixation_protocol_marks_probes_without_extra_trials(tmp_path):
    folder = PlanFolder.read(write_plan_folder(tmp_path, make_protocol(probe={"kind": "fixation", "fraction": 0.3})))
    trials = folder.read_run(folder.names[0]).trials
    assert len(trials) == 6 + 1
    assert trials["probe"].sum() == 2


def test_blocks_off_the_grid_of_volumes_are_explained_and_allowed_with_a_flag(experiment, tmp_path):
    blocks = {"images_per_block": 5, "blocks_per_cell": 4}
    timing = {"tr_s": 2.0, "image_s": 0.5, "gap_s": 0.1, "lead_in_s": 0.0, "lead_out_s": 0.0, "runs": 1}
    values = {"task": "short", "conditions": ["target", "natural"], "timing": timing, "blocks": blocks}
    (tmp_path / "p.json").write_text(json.dumps(values))
    make_set(tmp_path / "set", images=6)
    command = ("plan", tmp_path / "p.json", "--set", tmp_path / "set", "--subjects", 1, "--seed", 1, "--out", tmp_path / "plan")
    code, _, err = experiment(*command)
    assert code == 1
    assert "a block of 3 s is 1.5 TRs of 2 s, so blocks begin at another moment of a volume each time" in err
    assert "allow it with --off-grid" in err
    assert experiment(*command, "--off-grid")[0] == 0
    assert PlanFolder.read(tmp_path / "plan").protocol.timing.off_grid
    assert experiment("check", tmp_path / "plan")[0] == 0

"""An interrupted batch goes on to the very same image; a finished one is read; another order is another batch."""

import dataclasses
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from stimgen.goal import Goal
from stimgen.image import Fourier
from stimgen.jobs import Workplace, identify_climb, split_batches
from stimgen.objective import Ensemble
from stimgen.optimize import Ascent, Climb
from stimgen.predictors import build_panel
from tests.stimgen.tiny import draw_images, make_scorer, make_tiny_model

SIZE_PX = 16
PAIR = Goal("pair", factors={"V3": 0.5, "LO": -0.5}, low={"V3": 1.5}, high={"LO": -1.5}, own={"V3": 1.0, "LO": -1.0}, score="weakest")
DOSE = Goal("dose", matches={"V3": 1.0}, own={"V3": 1.0}, score="match")


def plan_climb(maker=None, validator=None, goals=(PAIR, DOSE, PAIR), seeds=(1, 2, 3), start=None, ensemble=None, **ascent):
    """Return a small climb with bounds, jitter and two views; states are written at every step."""
    scorer = make_scorer(maker or make_tiny_model())
    settings = Ascent(**{"steps": 24, "views": 2, "validate_every": 4, "checkpoint_s": 1e-9, **ascent})
    together = ensemble or Ensemble()
    validators = build_panel([make_scorer(validator)], goals, together) if validator else None
    panel = build_panel([scorer], goals, together)
    return Climb(tuple(goals), tuple(seeds), Fourier(SIZE_PX), start, panel, together, settings, validators=validators)


class Interrupted(Exception):  # noqa: N818 (it is no error)
    """Stands for a person who stops the command."""


def stop_after(steps):
    """Return a listener that interrupts a climb when so many steps are done."""
    count = 0

    def listen(_images):
        nonlocal count
        count += 1
        if count == steps:
            raise Interrupted

    return listen


def same(one, other):
    return torch.equal(one.images, other.images) and (one.restarts, one.dead) == (other.restarts, other.dead)


def files(folder):
    return sorted(path.suffix for path in folder.iterdir())


@pytest.mark.parametrize("optimizer", ["adam", "nadam"])
@pytest.mark.parametrize("validated", [False, True])
def test_an_interrupted_climb_goes_on_to_the_same_bits_wherever_it_was_stopped(tmp_path, optimizer, validated):
    climb = plan_climb(validator=make_tiny_model(seed=2) if validated else None, optimizer=optimizer)
    whole = Workplace(tmp_path / "whole").make(climb)
    for steps in (1, 2, 10, 11, 23):
        place = Workplace(tmp_path / f"{steps}")
        with pytest.raises(Interrupted):
            place.make(climb, stop_after(steps))
        assert files(place.folder) == ([".state"] if steps > 1 else [])
        told = []
        assert same(place.make(climb, told.append), whole)
        assert sum(told) == 3 * 24
        assert len(told) == (24 - (steps - 1) + 1 if steps > 1 else 24)  # what was done is told at once
        assert files(place.folder) == [".safetensors"]


def test_a_climb_that_is_stopped_again_and_again_ends_at_the_same_bits(tmp_path):
    climb = plan_climb()
    whole = Workplace(tmp_path / "whole").make(climb)
    place = Workplace(tmp_path / "often")
    for _ in range(4):
        with pytest.raises(Interrupted):
            place.make(climb, stop_after(5))
    assert same(place.make(climb), whole)


def test_a_state_is_not_written_more_often_than_asked(tmp_path):
    with pytest.raises(Interrupted):
        Workplace(tmp_path).make(plan_climb(checkpoint_s=1000.0), stop_after(20))
    assert files(tmp_path) == []


def test_a_finished_batch_is_read_and_not_made_again(tmp_path):
    climb = plan_climb()
    made = Workplace(tmp_path).make(climb)
    file = next(tmp_path.iterdir())
    stored = load_file(file)
    save_file({**stored, "images": stored["images"] * 0.5}, file)  # what is on the disk counts
    told = []
    again = Workplace(tmp_path).make(climb, told.append)
    assert torch.equal(again.images, made.images * 0.5)
    assert told == [3 * 24]


def test_restarts_and_dead_gradients_are_kept_with_the_images(tmp_path):
    model = make_tiny_model()
    climb = plan_climb(model, steps=5)
    model.space.backbone.module.second.weight.data[:] = 0  # every reading is a constant of the network from now on
    model.space.backbone.module.third.weight.data[:] = 0
    made = Workplace(tmp_path).make(climb)
    assert made.restarts == (3, 3, 3)
    assert made.dead == (True, True, True)
    assert same(Workplace(tmp_path).make(climb), made)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def scramble(path):
    path.write_bytes(random.Random(0).randbytes(500))


def replace_by_another(path):
    save_file({"something": torch.zeros(3)}, path)


@pytest.mark.parametrize("damage", [cut, empty, scramble, replace_by_another])
def test_a_damaged_file_is_passed_over_and_made_again(tmp_path, damage):
    climb, place = plan_climb(steps=12), Workplace(tmp_path)
    whole = place.make(climb)
    damage(next(tmp_path.glob("*.safetensors")))
    with pytest.raises(Interrupted):
        place.make(climb, stop_after(8))
    damage(next(tmp_path.glob("*.state")))
    next(tmp_path.glob("*.state")).with_suffix(".state.partial").write_bytes(b"an interrupted writing")
    told = []
    assert same(place.make(climb, told.append), whole)
    assert told == [3] * 12
    assert same(place.make(climb), whole)


def test_a_state_of_other_images_is_passed_over(tmp_path):
    one, other = plan_climb(steps=12), plan_climb(steps=12, goals=(PAIR,), seeds=(1,))
    whole = Workplace(tmp_path / "whole").make(one)
    place = Workplace(tmp_path / "place")
    with pytest.raises(Interrupted):
        place.make(other, stop_after(6))
    next(place.folder.iterdir()).rename(place.folder / f"{identify_climb(one)}.state")
    assert same(place.make(one), whole)


def other_model():
    model = make_tiny_model()
    model.readout.coefficients[0, 0] += 1
    return model


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": (1, 2, 4)},
        {"seeds": (2, 1, 3)},
        {"goals": (PAIR, PAIR, PAIR)},
        {"goals": (PAIR, dataclasses.replace(DOSE, matches={"V3": 1.1}), PAIR)},
        {"goals": (dataclasses.replace(PAIR, low={"V3": 1.6}), DOSE, PAIR)},
        {"steps": 25},
        {"learning_rate": 0.051},
        {"optimizer": "nadam"},
        {"views": 1},
        {"jitter": {"shift": 0.05}},
        {"naturalness": 0.1},
        {"precision": "bfloat16"},
        {"validate_every": 5},
        {"ensemble": Ensemble(combine="minimum")},
        {"start": Fourier(SIZE_PX).encode(draw_images(3, SIZE_PX))},
        {"maker": make_tiny_model(seed=1)},
        {"maker": other_model()},
        {"validator": make_tiny_model(seed=2)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_an_image_depends_on_names_the_batch(change):
    assert identify_climb(plan_climb(**change)) != identify_climb(plan_climb())


def test_the_parameterization_and_the_start_name_the_batch():
    climb = plan_climb()
    names = [
        identify_climb(dataclasses.replace(climb, parameterization=parameterization))
        for parameterization in (Fourier(SIZE_PX), Fourier(SIZE_PX, decay=1.5), Fourier(2 * SIZE_PX))
    ]
    starts = [identify_climb(plan_climb(start=torch.full((3, 3, SIZE_PX, SIZE_PX // 2 + 1, 2), value))) for value in (0.1, 0.2)]
    assert len({*names, *starts}) == 5
    assert names[0] == identify_climb(climb)


def test_what_changes_no_image_does_not_change_the_name():
    assert identify_climb(plan_climb(batch=3, checkpoint_s=7.0)) == identify_climb(plan_climb())


def test_another_version_of_the_code_does_not_continue_what_one_began(tmp_path):
    climb = plan_climb(steps=2)
    for code in ("1", "2"):
        Workplace(tmp_path, code).make(climb)
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


def test_a_workplace_removes_its_own_files_and_no_others(tmp_path):
    place = Workplace(tmp_path / "place")
    place.make(plan_climb(steps=2))
    with pytest.raises(Interrupted):
        place.make(plan_climb(steps=3), stop_after(3))
    (place.folder / f"{'0' * 64}.state.partial").write_bytes(b"")
    strangers = [place.folder / name for name in ("notes.txt", "readout.safetensors", "vi.state")]
    for stranger in strangers:
        stranger.write_text("mine")
    place.clear()
    assert sorted(place.folder.iterdir()) == sorted(strangers)


def test_a_workplace_without_other_files_goes_away(tmp_path):
    place = Workplace(tmp_path / "place")
    place.clear()
    place.make(plan_climb(steps=2))
    place.clear()
    assert not place.folder.exists()


@pytest.mark.parametrize(
    ("count", "size", "expected"), [(5, 2, [[0, 1], [2, 3], [4]]), (4, 2, [[0, 1], [2, 3]]), (2, 7, [[0, 1]]), (0, 3, [])]
)
def test_jobs_are_split_into_batches_in_order(count, size, expected):
    assert [list(batch) for batch in split_batches(count, size)] == expected


SCRIPT = """
import os, random, signal, sys, time
from pathlib import Path
import torch
import torch._dynamo  # what an optimizer imports when it is made
from stimgen.jobs import Workplace
from tests.stimgen.test_jobs import plan_climb
from tests.stimgen.tiny import make_tiny_model

whole, killed = Path(sys.argv[1]), Path(sys.argv[2])
torch.set_num_threads(1)
rng = random.Random(3)

def start(folder):
    child = os.fork()
    if child == 0:
        Workplace(folder).make(plan_climb(validator=make_tiny_model(seed=2), steps=60))
        os._exit(0)
    return child

assert os.waitpid(start(whole), 0)[1] == 0
for _ in range(5):
    before = {path: path.stat().st_mtime_ns for path in killed.glob("*.state")}
    child = start(killed)
    while {path: path.stat().st_mtime_ns for path in killed.glob("*.state")} == before:
        time.sleep(0.002)
    time.sleep(rng.uniform(0, 0.05))
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    print("killed", flush=True)
assert os.waitpid(start(killed), 0)[1] == 0
"""


def test_a_command_that_is_killed_at_any_moment_and_started_again_makes_the_same_images(tmp_path):
    """Every process stands alone: it is forked before any tensor is made, and killed while it climbs and writes its state."""
    folders = [tmp_path / "whole", tmp_path / "killed"]
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, *map(str, folders)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == 5 * "killed\n"
    whole, made = (load_file(next(folder.glob("*.safetensors"))) for folder in folders)
    assert made.keys() == whole.keys()
    for key, value in whole.items():
        assert torch.equal(made[key], value)
    assert all(files(folder) == [".safetensors"] for folder in folders)


def test_what_is_kept_is_made_once_and_anew_for_another_name_or_code(tmp_path):
    made = []

    def make():
        made.append(1)
        return torch.full((2,), float(len(made)))

    for work, name in ((Workplace(tmp_path), "a"), (Workplace(tmp_path), "a"), (Workplace(tmp_path), "b"), (Workplace(tmp_path, "2"), "a")):
        work.keep(name, make)
    assert len(made) == 3
    assert Workplace(tmp_path).keep("a", make).tolist() == [1.0, 1.0]
    Workplace(tmp_path).clear()
    assert not tmp_path.exists()


def test_a_state_that_a_kill_left_beside_finished_images_goes_away(tmp_path):
    place = Workplace(tmp_path)
    made = place.make(plan_climb(steps=2))
    (finished,) = tmp_path.glob("*.safetensors")
    for suffix in (".state", ".state.partial"):
        finished.with_name(f"{finished.stem}{suffix}").write_bytes(b"left")
    assert torch.equal(place.make(plan_climb(steps=2)).images, made.images)
    assert files(tmp_path) == [".safetensors"]

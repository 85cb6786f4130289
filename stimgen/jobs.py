"""The work of making images as a list of independent batches, each with its own output file, so that it can be left and taken up.

A batch is named by the sha256 of all that its images depend on. What is finished is read; what was interrupted goes on from its last
state, to the same image. The images of a batch are always climbed together: the same batch gives the same bits on the same machine.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from protocols.config import config_values
from stimgen.ascent_state import AscentState, write_tensors
from stimgen.evolve_climb import evolve_all
from stimgen.optimize import Ascent, Climb, Climbed, begin, climb_on
from stimgen.predictors import Panel
from stimgen.weights import hash_state


@dataclass(frozen=True)
class Workplace:
    """The folder where finished batches and states of unfinished ones are kept."""

    folder: Path
    code: str = ""
    """Version of the code: what another version has begun is not continued."""

    def make(self, climb: Climb, on_step: Callable[[int], None] = lambda images: None) -> Climbed:
        """Return a batch's images: from its file, or made from its last state on, or from the beginning."""
        name = identify_climb(climb, self.code)
        finished, unfinished = self.folder / f"{name}.safetensors", self.folder / f"{name}.state"
        made = _read_climbed(finished)
        if made is not None:
            on_step(len(climb.seeds) * climb.ascent.steps)
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            made = evolve_all(climb, on_step) if climb.ascent.optimizer == "cma_es" else _climb_from_last_state(climb, unfinished, on_step)
            _write_climbed(made, finished)
        for left in (unfinished, self.folder / f"{unfinished.name}.partial"):  # a kill may have left them, also after the images were done
            left.unlink(missing_ok=True)
        return made

    def forget(self, climb: Climb) -> None:
        """Remove a finished batch, once its images are somewhere else."""
        (self.folder / f"{identify_climb(climb, self.code)}.safetensors").unlink(missing_ok=True)

    def keep(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        """Return a tensor that is named by the sha256 of all that it depends on: from its file, or made and kept."""
        path = self.folder / f"{hashlib.sha256(f'{name} {self.code}'.encode()).hexdigest()}.safetensors"
        if path.is_file():  # written by rename: whole
            kept: Tensor = load_file(path)["tensor"]
            return kept
        made = make()
        self.folder.mkdir(parents=True, exist_ok=True)
        write_tensors({"tensor": made.contiguous()}, path)
        return made

    def clear(self) -> None:
        """Remove the batches and states, once what they were made for is complete."""
        if not self.folder.is_dir():
            return
        for file in self.folder.glob("[0-9a-f]" * 64 + ".*"):
            file.unlink()
        if not any(self.folder.iterdir()):
            self.folder.rmdir()


def _climb_from_last_state(climb: Climb, unfinished: Path, on_step: Callable[[int], None]) -> Climbed:
    state = begin(climb)
    if state.restore(unfinished):
        on_step(len(climb.seeds) * state.step)
    return climb_on(climb, state, on_step, _write_now_and_then(state, unfinished, climb.ascent.checkpoint_s))


def identify_climb(climb: Climb, code: str = "") -> str:
    """Return the sha256 of what a batch's images depend on: goals, seeds, start, parameterization, settings, models, code."""
    settings = describe_ascent(climb.ascent)
    digest = hashlib.sha256(repr((climb.goals, climb.seeds, settings, climb.ensemble, torch.__version__, code)).encode())
    _add_parameterization(digest, climb)
    if climb.matcher is not None:
        matcher = climb.matcher
        digest.update(repr((matcher.size_deg, matcher.background, matcher.most_striped)).encode())
        for tensor in (matcher.wishes, matcher.window, matcher.display.levels, matcher.display.luminance):
            _add(digest, tensor)
    if climb.anchor is not None:
        _add(digest, climb.anchor.photographs)
        digest.update(repr(climb.anchor.balance).encode())
    for panel in (climb.makers, climb.validators):
        if panel is not None:
            _add_panel(digest, panel)
    return digest.hexdigest()


def describe_ascent(ascent: Ascent) -> dict[str, Any]:
    """Return the settings of an ascent that its images depend on."""
    return {key: value for key, value in config_values(ascent).items() if key not in ("batch", "checkpoint_s")}


def _add_parameterization(digest: "hashlib._Hash", climb: Climb) -> None:
    digest.update(type(climb.parameterization).__name__.encode())
    for key, value in vars(climb.parameterization).items():
        if isinstance(value, Tensor):
            _add(digest, value)
        elif isinstance(value, nn.Module):
            digest.update(hash_state(value).encode())
        elif key != "decoder":  # a generator that is no torch module goes by its dotted path alone
            digest.update(repr((key, value)).encode())
    _add(digest, climb.start)


def _add_panel(digest: "hashlib._Hash", panel: Panel) -> None:
    for predictor in panel.predictors:
        digest.update("".join(predictor.space.identify_layer(layer) for layer in predictor.layers).encode())
        for reader in predictor.readers:
            for tensor in (reader.slopes, reader.offsets, reader.known):
                _add(digest, tensor)


def _add(digest: "hashlib._Hash", tensor: Tensor | None) -> None:
    if tensor is not None:
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())


def _write_now_and_then(state: AscentState, path: Path, seconds: float) -> Callable[[], None]:
    """Return a function that writes the state when it was not written for so many seconds."""
    last = time.monotonic()

    def write() -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            state.write(path)
            last = time.monotonic()

    return write


def _write_climbed(made: Climbed, path: Path) -> None:
    counts = {"restarts": torch.tensor(made.restarts), "dead": torch.tensor(made.dead)}
    write_tensors({"images": made.images.contiguous(), "trace": made.trace, **counts}, path)


def _read_climbed(path: Path) -> Climbed | None:
    if not path.is_file():
        return None
    try:
        with safetensors.safe_open(str(path), framework="pt") as opened:
            restarts, dead = opened.get_tensor("restarts").tolist(), opened.get_tensor("dead").tolist()
            return Climbed(opened.get_tensor("images"), tuple(restarts), tuple(dead), opened.get_tensor("trace"))
    except (OSError, safetensors.SafetensorError):
        return None


def split_batches(count: int, size: int) -> Sequence[range]:
    """Return the indices of each batch of jobs."""
    return [range(start, min(start + size, count)) for start in range(0, count, size)]

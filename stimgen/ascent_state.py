"""Everything that a step of an ascent changes, so that it can be written, read, and continued to the same image."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors
import torch
from jaxtyping import Bool, Float, Int
from safetensors.torch import save
from torch import Tensor

from stimgen.lagrangian import Multipliers


@dataclass
class AscentState:
    """The state of a batch of images after `step` steps.

    Attributes
    ----------
    parameters
        The images' free numbers, a leaf that needs a gradient.
    optimizer
        Steps `parameters`; its moments belong to the state.
    generators
        One per image, on the CPU.
    multipliers
        Of the goals' bounds.
    readings
        Sums of the low and high reading of every term since the multipliers' last update, and how many steps they are of.
    best, best_rating
        The parameters that a validating model rated best so far, and its rating (-inf before the first).
    restarts
        How often each image was started again because its gradient was dead.
    dead
        Whether it was dead at the last step.
    anchor_weight
        Weight of each image's distance from its photograph.
    trace
        Each image's objective, the mean of every few steps; on the CPU.
    """

    step: int
    parameters: Tensor
    optimizer: torch.optim.Optimizer
    generators: list[torch.Generator]
    multipliers: Multipliers
    readings: Float[Tensor, "2 images terms"]
    averaged: int
    best: Tensor
    best_rating: Float[Tensor, " images"]
    restarts: Int[Tensor, " images"]
    dead: Bool[Tensor, " images"]
    anchor_weight: Float[Tensor, " images"]
    trace: Float[Tensor, "points images"]

    def write(self, path: Path) -> None:
        """Write the state by rename: an interrupted writing leaves the former file."""
        write_tensors(self._collect(), path)

    def _collect(self) -> dict[str, Tensor]:
        moments = {f"optimizer.{key}": value for key, value in self.optimizer.state[self.parameters].items()}
        tensors = {
            "parameters": self.parameters.detach(),
            "best": self.best,
            "best_rating": self.best_rating,
            "restarts": self.restarts,
            "dead": self.dead,
            "anchor_weight": self.anchor_weight,
            "trace": self.trace,
            "readings": self.readings,
            "counts": torch.tensor([self.step, self.averaged]),
            **{f"multipliers.{key}": value for key, value in vars(self.multipliers).items()},
            **{f"generator.{number}": generator.get_state() for number, generator in enumerate(self.generators)},
            **moments,
        }
        return {key: value.detach().cpu().contiguous() for key, value in tensors.items()}

    def restore(self, path: Path) -> bool:
        """Become the state that `write` wrote; return whether there was one that is whole and of these images."""
        if not path.is_file():
            return False
        try:
            with safetensors.safe_open(str(path), framework="pt") as opened:
                stored = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 (not a dict)
        except (OSError, safetensors.SafetensorError):
            return False
        if any(key not in stored or stored[key].shape != own.shape for key, own in self._collect().items()):
            return False
        device = self.parameters.device
        self.step, self.averaged = stored["counts"].tolist()
        with torch.no_grad():
            self.parameters.copy_(stored["parameters"])
        self.best, self.best_rating = stored["best"].to(device), stored["best_rating"].to(device)
        self.restarts, self.dead, self.readings = stored["restarts"], stored["dead"], stored["readings"].to(device)
        self.anchor_weight, self.trace = stored["anchor_weight"].to(device), stored["trace"]
        for key in vars(self.multipliers):
            setattr(self.multipliers, key, stored[f"multipliers.{key}"].to(device))
        for number, generator in enumerate(self.generators):
            generator.set_state(stored[f"generator.{number}"])
        self._restore_moments(stored)
        return True

    def _restore_moments(self, stored: dict[str, Tensor]) -> None:
        own = self.optimizer.state[self.parameters]
        for key, value in stored.items():
            kind, _, name = key.partition(".")
            if kind == "optimizer":  # the optimizer keeps its count of steps on the CPU
                own[name] = value if value.ndim == 0 else value.to(self.parameters.device)

    def restart(self, rows: Sequence[int], fresh: Tensor) -> None:
        """Give some images new parameters and forget their moments."""
        with torch.no_grad():
            self.parameters[list(rows)] = fresh.to(self.parameters)
            for value in self.optimizer.state[self.parameters].values():
                if isinstance(value, Tensor) and value.shape == self.parameters.shape:
                    value[list(rows)] = 0
        self.restarts[list(rows)] += 1


def write_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    """Write tensors by rename. safetensors' own `save_file` writes under a random name, which a kill leaves behind."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(save(tensors))
    partial.replace(path)

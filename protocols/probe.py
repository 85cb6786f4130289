"""The participant's task, which keeps the eyes on the images: repeats, a changing dot, catch images, memory or rating."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from protocols.config import config


@config
class Probe:
    """The participant's task.

    `one_back`: press on an immediate repetition. `fixation`: on a change of the dot's color. `catch`: on a catch image.
    `old_new`: on every image, `old_keys` where it was seen before. `rating`: any key on every image.
    """

    kind: Literal["one_back", "fixation", "catch", "old_new", "rating"] = "one_back"
    fraction: float = Field(default=0.1, ge=0, lt=1)
    """Probes per image trial; not for old_new and rating, where every image is answered."""
    count: int | None = Field(default=None, ge=0)
    """Probes per run, instead of `fraction`."""
    keys: tuple[str, ...] = Field(default=("1", "2"), min_length=1)
    old_keys: tuple[str, ...] = ()
    """Of `keys`: those that say 'seen before' in the old_new task."""
    catch_condition: str = "catch"
    """Condition of the set whose images are the catch images; it is no cell of the design."""
    box: str = ""
    """A response box of its own, `serial:DEVICE[,BAUD]`; keys of any keyboard count without it, and beside it."""
    response_window_s: tuple[float, float] = (0.2, 3.0)
    """After the probe's onset, in which a key counts as a hit."""

    @field_validator("response_window_s")
    @classmethod
    def _opens_before_it_closes(cls, window: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= window[0] < window[1]:
            raise ValueError("a response window begins at 0 or later and before it ends")
        return window

    @model_validator(mode="after")
    def _old_keys_are_keys(self) -> "Probe":
        if (self.kind == "old_new") != bool(self.old_keys) or not set(self.old_keys) < set(self.keys):
            raise ValueError("old_new needs old_keys, some but not all of keys; no other task has old_keys")
        return self

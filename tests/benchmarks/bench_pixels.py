"""What is shown against the file, and whether a corruption is found: python -m tests.benchmarks.bench_pixels [--corruptions 100]

Windows and images of odd and even sizes, beside plain PsychoPy (`ImageStim` at (0, 0)) in the same window.
"""

import argparse
import contextlib
import os
import time
from collections.abc import Iterator

import numpy as np
from PIL import Image

from experiment.pixels import place_centered
from experiment.proof import prove_images
from experiment.screen import PsychoPyScreen
from protocols.errors import InputError
from protocols.protocol import Screen
from tests.benchmarks.display import open_display
from tests.benchmarks.report import print_table

WINDOWS = [(320, 240), (321, 241)]
SIZES = [(64, 64), (65, 65), (64, 65), (101, 80), (1, 1), (319, 239), (320, 240)]
BACKGROUND = 127
KINDS = ("one level", "half a pixel", "one pixel", "stretched", "contrast")
SHIFTS = {"half a pixel": [(0.5, 0), (0, 0.5), (-0.5, 0.5)], "one pixel": [(1, 0), (0, -1), (1, 1)]}


@contextlib.contextmanager
def open_window(size_px: tuple[int, int]) -> Iterator[PsychoPyScreen]:
    """Yield a window of a size."""
    screen = PsychoPyScreen(Screen(width_px=size_px[0], height_px=size_px[1]), windowed=True)
    try:
        yield screen
    finally:
        screen.close()


def draw_image(rng: np.random.Generator, size_px: tuple[int, int]) -> np.ndarray:
    """Return noise, height x width x 3."""
    return rng.integers(0, 256, (size_px[1], size_px[0], 3), dtype=np.uint8)


def compare_plain(screen: PsychoPyScreen, pixels: np.ndarray) -> int:
    """Return the largest difference, in levels, of what plain PsychoPy draws."""
    height, width = pixels.shape[:2]
    plain = screen._visual.ImageStim(screen._window, image=Image.fromarray(pixels), size=(width, height), pos=(0, 0), units="pix")
    plain.draw()
    drawn = screen._read_back_buffer()
    screen._window.clearBuffer()
    return int(np.abs(drawn.astype(int) - place_centered(pixels, BACKGROUND, *screen.size_px)).max())


def print_sizes(seed: int) -> bool:
    """Print the largest difference of every size of image in every window; say whether ours is 0 everywhere."""
    rng, rows = np.random.default_rng(seed), []
    for window in WINDOWS:
        with open_window(window) as screen:
            for size in SIZES:
                pixels = draw_image(rng, size)
                screen.preload({"a": pixels})
                drawn = screen.read_drawn("a")
                ours = int(np.abs(drawn.astype(int) - place_centered(pixels, BACKGROUND, *screen.size_px)).max())
                rows.append((f"{window[0]} x {window[1]}", f"{size[0]} x {size[1]}", ours, compare_plain(screen, pixels)))
    print_table("Largest difference from the file, levels of 255", ("window", "image", "ours", "plain PsychoPy"), rows)
    return all(row[2] == 0 for row in rows)


def corrupt(screen: PsychoPyScreen, pixels: np.ndarray, kind: str, rng: np.random.Generator) -> None:
    """Make the texture of image 'a' a little wrong."""
    if kind == "one level":
        changed = pixels.copy()
        place = tuple(int(rng.integers(side)) for side in pixels.shape)
        changed[place] ^= 1
        screen.preload({"a": changed})
        return
    texture = screen._textures["a"]
    shift = SHIFTS.get(kind, [(0, 0)])[int(rng.integers(len(SHIFTS.get(kind, [(0, 0)]))))]
    grown = texture.size + (2 if kind == "stretched" else 0)
    options = {"pos": np.add(texture.pos, shift), "size": grown, "units": "pix", "interpolate": True}
    wrong = screen._visual.ImageStim(screen._window, image=Image.fromarray(pixels), **options)
    wrong.contrast = 0.98 if kind == "contrast" else 1.0
    screen._textures["a"] = wrong


def print_corruptions(count: int, seed: int) -> bool:
    """Corrupt `count` images and count what the proof finds; say whether it found all and cried over no whole image."""
    rng = np.random.default_rng(seed)
    found, changed, false_alarms = dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0), 0
    for number, window in enumerate(WINDOWS):
        with open_window(window) as screen:
            for case in range(number, count, len(WINDOWS)):
                kind = KINDS[case // len(WINDOWS) % len(KINDS)]
                pixels = draw_image(rng, (int(rng.integers(40, 200)), int(rng.integers(40, 200))))
                screen.preload({"a": pixels})
                false_alarms += is_refused(screen, pixels)
                whole = screen.read_drawn("a")
                corrupt(screen, pixels, kind, rng)
                changed[kind] += not np.array_equal(whole, screen.read_drawn("a"))
                found[kind] += is_refused(screen, pixels)
    rows = [(kind, changed[kind], found[kind]) for kind in KINDS]
    rows.append(("all", sum(changed.values()), sum(found.values())))
    rows.append(("none: false alarms", count, false_alarms))
    print_table("Corruptions", ("corruption", "changed images", "found"), rows)
    return found == changed and sum(found.values()) == count and false_alarms == 0


def is_refused(screen: PsychoPyScreen, pixels: np.ndarray) -> bool:
    """Say whether a run would be refused."""
    try:
        prove_images(screen, {"a": pixels}, BACKGROUND)
    except InputError:
        return True
    return False


def print_speed(seed: int) -> None:
    """Time the proof of 100 images of 425 px in a window of 1024 x 768 px."""
    rng = np.random.default_rng(seed)
    images = {f"a{number}": draw_image(rng, (425, 425)) for number in range(100)}
    with open_window((1024, 768)) as screen:
        screen.preload(images)
        begun = time.perf_counter()
        prove_images(screen, images, BACKGROUND)
        print_table("Proof of a run's images", ("images", "seconds"), [(len(images), time.perf_counter() - begun)])


def main() -> None:
    """Print the tables; exit with 1 where a difference is not 0 or a corruption was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corruptions", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--here", action="store_true", help="on the display that is there, without the timing")
    arguments = parser.parse_args()
    with contextlib.nullcontext(os.environ.get("DISPLAY")) if arguments.here else open_display():
        same = print_sizes(arguments.seed)
        all_found = print_corruptions(arguments.corruptions, arguments.seed)
        if not arguments.here:
            print_speed(arguments.seed)
    raise SystemExit(0 if same and all_found else 1)


if __name__ == "__main__":
    main()

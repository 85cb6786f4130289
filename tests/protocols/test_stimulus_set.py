"""StimulusSet: a round trip keeps it, `verify` finds every way in which an image can be wrong, each rule is named."""

import dataclasses
import itertools
import json
import shutil
import struct
import zlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from protocols.errors import InputError
from protocols.provenance import Provenance, hash_file
from protocols.stimulus_set import COLUMNS, FORMAT_VERSION, StimulusSet, image_file_name
from tests.protocols.strategies import CELLS, json_objects, make_table, numbers

WIDTH, HEIGHT = 7, 5


@st.composite
def any_sets(draw, folder):
    ids = draw(st.lists(st.from_regex(r"[A-Za-z][A-Za-z0-9]{0,5}", fullmatch=True), max_size=4, unique_by=str.lower))
    free = [kind for name, kind in COLUMNS.items() if name not in ("stim_id", "stim_file")]
    rows = [(stim_id, image_file_name(stim_id), *draw(st.tuples(*(CELLS[kind] for kind in free)))) for stim_id in ids]
    scores = {f"predicted_{roi}": draw(st.lists(numbers, min_size=len(ids), max_size=len(ids))) for roi in ("FFA", "V3")}
    unscored = {"judged_FFA": np.full(len(ids), np.nan)}
    return StimulusSet(
        folder, make_table(COLUMNS, rows).assign(**scores, **unscored), {**draw(json_objects), "format_version": FORMAT_VERSION}
    )


@given(data=st.data())
def test_write_then_read_is_identity(data, tmp_path):
    stimulus_set = data.draw(any_sets(tmp_path))
    stimulus_set.write(tmp_path)
    Provenance("test").write(tmp_path)
    read = StimulusSet.read(tmp_path)
    pd.testing.assert_frame_equal(read.table, stimulus_set.table)
    assert read.description == stimulus_set.description
    assert read.sha256 == hash_file(tmp_path / "stimuli.tsv")


@pytest.fixture
def stimulus_set(tmp_path):
    """Two real images (RGB and gray), a complete set on disk."""
    rng = np.random.default_rng(1)
    rows = []
    for stim_id, shape in (("face01", (HEIGHT, WIDTH, 3)), ("house01", (HEIGHT, WIDTH))):
        path = tmp_path / image_file_name(stim_id)
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(path)
        rows.append((stim_id, path.name, "target", stim_id[:4], "noise", 1.0, None, hash_file(path), WIDTH, HEIGHT, 0.5, 0.2))
    made = StimulusSet(tmp_path, make_table(COLUMNS, rows), {})
    made.write(tmp_path)
    Provenance("test").write(tmp_path)
    return StimulusSet.read(tmp_path)


def rehash(stimulus_set):
    """Return the set with the hashes of the files as they are now: only what no hash can find is left to be found."""
    hashes = [hash_file(stimulus_set.folder / name) for name in stimulus_set.table["stim_file"]]
    return dataclasses.replace(stimulus_set, table=stimulus_set.table.assign(sha256=hashes))


def test_a_sound_set_is_verified(stimulus_set):
    stimulus_set.verify()
    assert stimulus_set.rois == ["face", "hous"]
    assert stimulus_set.image_path("face01").is_file()


def test_an_image_without_target_belongs_to_no_roi(stimulus_set):
    untargeted = dataclasses.replace(stimulus_set, table=stimulus_set.table.assign(target=["face", None]))
    untargeted.write(stimulus_set.folder)
    assert StimulusSet.read(stimulus_set.folder).rois == ["face"]


def test_an_unknown_image_is_refused(stimulus_set):
    with pytest.raises(InputError, match="has no stim_id 'cat01'"):
        stimulus_set.image_path("cat01")


def refuse_verification(stimulus_set, expected):
    with pytest.raises(InputError) as refusal:
        stimulus_set.verify()
    assert str(refusal.value).startswith(f"{stimulus_set.folder / 'stimuli.tsv'} row 3: image 'stim-house01_image.png'")
    assert expected in str(refusal.value)


def test_a_missing_image_is_named(stimulus_set):
    (stimulus_set.folder / "stim-house01_image.png").rename(stimulus_set.folder / "elsewhere.png")
    refuse_verification(stimulus_set, "is missing; copy the set again")


def test_an_image_truncated_anywhere_is_named(stimulus_set):
    path = stimulus_set.folder / "stim-house01_image.png"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        refuse_verification(stimulus_set, "copy the set again")
    path.write_bytes(whole[: len(whole) // 2])
    refuse_verification(stimulus_set, "cannot be decoded (")


def test_an_image_with_any_byte_changed_is_named(stimulus_set):
    path = stimulus_set.folder / "stim-house01_image.png"
    whole = path.read_bytes()
    for position, flipped in itertools.product(range(len(whole)), (0x01, 0x80)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ flipped]) + whole[position + 1 :])
        refuse_verification(stimulus_set, "image 'stim-house01_image.png' ")


def test_an_image_replaced_by_another_is_named(stimulus_set):
    Image.new("RGB", (WIDTH, HEIGHT)).save(stimulus_set.folder / "stim-house01_image.png")
    refuse_verification(stimulus_set, "does not match its sha256; copy the set again")


def test_an_image_of_another_size_is_named(stimulus_set):
    Image.new("RGB", (WIDTH + 1, HEIGHT)).save(stimulus_set.folder / "stim-house01_image.png")
    refuse_verification(rehash(stimulus_set), f"is {WIDTH + 1} x {HEIGHT} px, the table says {WIDTH} x {HEIGHT}")


def save_16_bit_rgb(path):
    """Write a black PNG of 16 bits per channel, which Pillow reads as 8 without a word and cannot write."""
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 16, 2, 0, 0, 0)
    pixels = zlib.compress(HEIGHT * (b"\0" + WIDTH * 6 * b"\0"))
    chunks = [(b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")]
    framed = [struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(framed))


@pytest.mark.parametrize(
    "save",
    [
        lambda path: Image.fromarray(np.full((HEIGHT, WIDTH), 40000, dtype=np.uint16)).save(path),
        lambda path: Image.new("RGBA", (WIDTH, HEIGHT)).save(path),
        lambda path: Image.new("RGB", (WIDTH, HEIGHT)).save(path, transparency=(0, 0, 0)),
        lambda path: Image.new("LA", (WIDTH, HEIGHT)).save(path),
        lambda path: Image.new("P", (WIDTH, HEIGHT)).save(path),
        lambda path: Image.new("1", (WIDTH, HEIGHT)).save(path),
        lambda path: Image.new("RGB", (WIDTH, HEIGHT)).save(path, format="JPEG"),
        lambda path: Image.new("L", (WIDTH, HEIGHT), 8).save(path, format="PPM"),
        save_16_bit_rgb,
    ],
    ids=["16 bits gray", "RGBA", "tRNS", "gray and alpha", "palette", "1 bit", "JPEG", "PGM", "16 bits RGB"],
)
def test_pixels_that_two_programs_would_show_differently_are_refused(save, stimulus_set):
    save(stimulus_set.folder / "stim-house01_image.png")
    refuse_verification(rehash(stimulus_set), "is not an 8-bit RGB or gray PNG without transparency; save it as one and make the set again")


@pytest.mark.parametrize(
    ("column", "cell", "expected"),
    [
        ("stim_id", "face01", "row 3: stim_id 'face01' stands there twice; every stim_id must be unique"),
        ("stim_id", "FACE01", "row 3: stim_id 'face01' stands there twice"),
        ("stim_id", "1house", "row 3: stim_id '1house' must be letters and digits, beginning with a letter"),
        ("stim_id", "house_1", "row 3: stim_id 'house_1' must be letters and digits, beginning with a letter"),
        ("stim_file", "../house.png", "row 3: stim_file '../house.png' must be 'stim-house01_image.png'"),
        ("condition", None, "row 3: condition is n/a, expected text"),
        ("mean_luminance", "bright", "row 3: mean_luminance is 'bright', expected a number"),
        ("width_px", "7.5", "row 3: width_px is '7.5', expected a whole number"),
        ("judged_FFA", "high", "row 3: judged_FFA is 'high', expected a number"),
    ],
)
def test_each_broken_rule_of_the_table_is_named(column, cell, expected, stimulus_set):
    table = stimulus_set.table.assign(judged_FFA=0.5).astype(object)
    table.loc[1, column] = cell
    with pytest.raises(InputError) as refusal:
        dataclasses.replace(stimulus_set, table=table)
    assert str(refusal.value).startswith(f"{stimulus_set.folder / 'stimuli.tsv'} {expected}")


@pytest.mark.parametrize("column", COLUMNS)
def test_each_column_is_needed(column, stimulus_set):
    with pytest.raises(InputError, match=rf"stimuli\.tsv: missing column {column}; found "):
        dataclasses.replace(stimulus_set, table=stimulus_set.table.drop(columns=column))


def test_an_incomplete_folder_is_refused(stimulus_set):
    (stimulus_set.folder / "provenance.json").unlink()
    with pytest.raises(InputError, match=r"has no provenance\.json, so it is incomplete; run the command that makes it again"):
        StimulusSet.read(stimulus_set.folder)


def test_a_sidecar_missing_or_of_another_version_is_refused(stimulus_set):
    sidecar = stimulus_set.folder / "stimuli.json"
    sidecar.write_text(json.dumps({"format_version": 7}))
    with pytest.raises(InputError, match=r"stimuli\.json: format_version 7; this version reads 1"):
        StimulusSet.read(stimulus_set.folder)
    sidecar.unlink()
    with pytest.raises(InputError, match=r"stimuli\.json: cannot be read .*; copy the set again"):
        StimulusSet.read(stimulus_set.folder)


@pytest.fixture
def written_set(stimulus_set):
    """The set as a command leaves it: its provenance lists every file."""
    folder = stimulus_set.folder
    outputs = {path.name: hash_file(path) for path in folder.iterdir() if path.name != "provenance.json"}
    Provenance("test", outputs=outputs).write(folder)
    StimulusSet.read(folder).verify()
    return stimulus_set


def edit_table(stimulus_set, change):
    path = stimulus_set.folder / "stimuli.tsv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(change(lines)) + "\n")


def verify_again(folder, expected):
    with pytest.raises(InputError) as refusal:
        StimulusSet.read(folder).verify()
    assert expected in str(refusal.value)


def test_a_changed_pixel_is_found_though_the_file_is_sound(written_set):
    path = written_set.image_path("face01")
    pixels = np.asarray(Image.open(path)).copy()
    pixels[2, 3, 1] ^= 1
    Image.fromarray(pixels).save(path)
    verify_again(written_set.folder, "row 2: image 'stim-face01_image.png' does not match its sha256")


def test_a_file_saved_again_is_found_though_no_pixel_changed(written_set):
    path = written_set.image_path("face01")
    Image.open(path).save(path, compress_level=1)
    verify_again(written_set.folder, "row 2: image 'stim-face01_image.png' does not match its sha256")


def test_swapped_files_are_found(written_set):
    first, second = (written_set.image_path(name) for name in ("face01", "house01"))
    first.rename(first.with_suffix(".tmp"))
    second.rename(first)
    first.with_suffix(".tmp").rename(second)
    verify_again(written_set.folder, "row 2: image 'stim-face01_image.png' does not match its sha256")


def test_a_renamed_row_is_found_with_and_without_its_file(written_set):
    edit_table(written_set, lambda lines: [line.replace("face01", "face09") for line in lines])
    verify_again(written_set.folder, "row 2: image 'stim-face09_image.png' is missing")
    written_set.image_path("face01").rename(written_set.folder / "stim-face09_image.png")
    verify_again(written_set.folder, "stim-face01_image.png: missing, although provenance.json lists it")


def test_an_added_row_is_found_with_and_without_its_file(written_set):
    edit_table(written_set, lambda lines: [*lines, lines[1].replace("face01", "face02")])
    verify_again(written_set.folder, "row 4: image 'stim-face02_image.png' is missing")
    shutil.copy(written_set.image_path("face01"), written_set.folder / "stim-face02_image.png")
    verify_again(written_set.folder, "stimuli.tsv: does not match its sha256 in provenance.json")


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [line.replace("\ttarget\tface", "\tnatural\tface") for line in lines],
        lambda lines: [line.replace("\tface\t", "\thous\t") for line in lines],
        lambda lines: lines[:-1],
        lambda lines: [lines[0], lines[2], lines[1]],
    ],
    ids=["condition", "target", "taken out", "order"],
)
def test_an_edited_table_is_found(change, written_set):
    edit_table(written_set, change)
    verify_again(written_set.folder, "stimuli.tsv: does not match its sha256 in provenance.json; copy the folder again")


def test_an_edited_sidecar_is_found(written_set):
    path = written_set.folder / "stimuli.json"
    path.write_text(path.read_text().replace("{", '{ "models": ["another"],', 1))
    verify_again(written_set.folder, "stimuli.json: does not match its sha256 in provenance.json")


def test_images_of_somebody_else_beside_the_rows_are_let_be(written_set):
    """What an earlier, larger set of the same folder left behind: no row shows it."""
    Image.new("RGB", (WIDTH, HEIGHT)).save(written_set.folder / "stim-cat01_image.png")
    StimulusSet.read(written_set.folder).verify()

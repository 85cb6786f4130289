"""A fit that would not fit into memory is refused with a budget or a number of voxels that indeed fits."""

import re
from types import SimpleNamespace

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import InputError
from stimgen.memory import check_memory, estimate_fit_bytes


@pytest.fixture
def set_free(monkeypatch):
    """Return a function that sets how much memory is free, in bytes."""
    return lambda free: monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free))


def test_what_fits_is_not_refused(set_free):
    needed = estimate_fit_bytes(5000, 17500, 3000, 2)
    set_free(needed)
    check_memory(5000, 17500, 7, 3000, 2)
    set_free(needed - 1)
    with pytest.raises(InputError):
        check_memory(5000, 17500, 7, 3000, 2)


@given(st.integers(10, 30_000), st.integers(1, 12), st.integers(50, 5000), st.integers(1, 40_000), st.integers(1, 4), st.floats(0, 1))
def test_the_budget_or_number_of_voxels_that_is_named_fits_and_little_more_does(images, layers, budget, voxels, bands, share):
    features = layers * budget
    needed = estimate_fit_bytes(images, features, voxels, bands)
    least = min(estimate_fit_bytes(images, layers, voxels, bands), estimate_fit_bytes(images, features, 1, bands))
    free = min(least + int(share * (needed - least)), needed - 1)  # a budget of one feature, or one voxel, fits at least
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free))
        with pytest.raises(InputError) as refusal:
            check_memory(images, features, layers, voxels, bands)
        message = str(refusal.value)
        assert message.startswith(f"{images} images x {features} features x {voxels} voxels need about ")
        named = {word: int(found[1]) for word, found in find_numbers(message).items() if found}
        if "budget" in named:
            assert 1 <= named["budget"] < budget
            check_memory(images, layers * named["budget"], layers, voxels, bands)
            with pytest.raises(InputError):
                check_memory(images, layers * (named["budget"] + 1), layers, voxels, bands)
        else:
            assert 1 <= named["voxels"] < voxels
            check_memory(images, features, layers, named["voxels"], bands)
            with pytest.raises(InputError):
                check_memory(images, features, layers, named["voxels"] + 1, bands)


def find_numbers(message):
    return {
        "budget": re.search(r"set 'budget' to at most (\d+), or fit fewer voxels$", message),
        "voxels": re.search(r"about (\d+) voxels would fit: fit fewer ROIs at a time$", message),
    }


def test_sizes_are_told_in_gigabytes(set_free):
    set_free(3_000_000_000)
    with pytest.raises(InputError, match=r"^9000 images x 17500 features x 500 voxels need about \d\.\d GB of memory, 3\.0 GB are free; "):
        check_memory(9000, 17500, 7, 500)


def test_too_many_images_leave_no_budget_and_no_voxels(set_free):
    set_free(2_000_000_000)
    with pytest.raises(InputError, match="take fewer images, or a machine with more memory"):
        check_memory(60_000, 17500, 7, 3000)


def test_more_bands_need_more_memory():
    assert estimate_fit_bytes(5000, 100, 10, 3) > estimate_fit_bytes(5000, 100, 10, 1) + 2 * 4 * 5000**2

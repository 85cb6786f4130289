import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiment.geometry import convert_cm_to_deg, convert_deg_to_cm, convert_deg_to_px, convert_px_to_deg, fit_image, measure_screen
from protocols.protocol import Screen


def test_screen_of_34_7_degrees_is_not_reported_as_64():
    # 50 cm seen from 80 cm: 2 atan(50 / 160) = 34.708 degrees; exptools2 says 64.0 (2 atan(w / d))
    assert convert_cm_to_deg(50, 80) == pytest.approx(34.70805, abs=1e-5)
    width_deg, height_deg = measure_screen(Screen(width_px=1000, height_px=600, width_cm=50, distance_cm=80))
    assert width_deg == pytest.approx(34.70805, abs=1e-5)
    assert height_deg == pytest.approx(21.2391, abs=1e-3)


def test_known_angles():
    assert convert_cm_to_deg(200, 100) == pytest.approx(90)  # 2 atan(1)
    assert convert_deg_to_px(8.4, Screen()) == pytest.approx(375.99, abs=0.01)
    assert convert_deg_to_px(60, Screen(width_cm=40, distance_cm=100)) == pytest.approx(2956.0, abs=0.1)  # small-angle formula: 2680.8


@given(st.floats(0.01, 170), st.floats(1, 500))
def test_centimeters_and_degrees_are_inverse(size_deg, distance_cm):
    assert convert_cm_to_deg(convert_deg_to_cm(size_deg, distance_cm), distance_cm) == pytest.approx(size_deg)


@given(st.floats(0.1, 40))
def test_pixels_and_degrees_are_inverse(size_deg):
    assert convert_px_to_deg(convert_deg_to_px(size_deg, Screen()), Screen()) == pytest.approx(size_deg)


def test_image_keeps_its_proportions():
    assert fit_image(200, 100, Screen()) == (376, 188)
    assert fit_image(376, 376, Screen()) == (376, 376)

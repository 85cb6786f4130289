"""Protocol: the shipped files parse, any legal protocol survives a round trip, each broken rule is named."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import protocols
from protocols.config import parse_config
from protocols.errors import InputError
from protocols.probe import Probe
from protocols.protocol import Contrast, Protocol, Screen, Trigger, split_contrast
from protocols.timing import Timing
from tests.protocols.strategies import identifiers, labels

SHIPPED = sorted(Path(protocols.__file__).parent.glob("*.toml"))
positive = st.floats(1e-3, 1e6)
lengths = st.floats(0, 1e6)


@st.composite
def any_protocols(draw):
    conditions = draw(st.lists(identifiers, min_size=2, max_size=5, unique=True))
    cut = draw(st.integers(1, len(conditions) - 1))
    expression = f"{' + '.join(conditions[:cut])} - {' - '.join(conditions[cut:])}"
    opens = draw(st.floats(0, 5))
    return Protocol(
        task=draw(labels),
        title=draw(st.text("aé\u2028\n'\"\\", max_size=5)),
        timing=Timing(
            tr_s=draw(positive),
            image_s=draw(positive),
            gap_s=draw(lengths),
            lead_in_s=draw(lengths),
            runs=draw(st.integers(1, 99)),
            repetitions=draw(st.integers(1, 9)),
        ),
        screen=Screen(width_cm=draw(positive), refresh_hz=draw(positive), background=draw(st.integers(0, 255))),
        trigger=Trigger(source=draw(st.sampled_from(["keyboard:5", "serial:/dev/ttyUSB0", "serial:COM3", "emulate:1.6"]))),
        probe=Probe(kind=draw(st.sampled_from(["one_back", "fixation"])), response_window_s=(opens, opens + draw(st.floats(0.1, 5)))),
        conditions=tuple(conditions),
        contrasts=(Contrast(name="a", expression=expression), Contrast(name="b", expression=f"{conditions[0]}-other", family="secondary")),
        alpha=draw(st.floats(1e-6, 0.5)),
    )


@given(protocol=any_protocols())
def test_write_then_read_is_identity(protocol, tmp_path):
    protocol.write(tmp_path / "protocol.json")
    assert Protocol.read(tmp_path / "protocol.json") == protocol


def test_protocols_are_shipped():
    assert "roi_validation.toml" in [path.name for path in SHIPPED]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_each_shipped_protocol_parses_and_survives_a_round_trip(path, tmp_path):
    protocol = Protocol.read(path)
    protocol.write(tmp_path / "protocol.json")
    assert Protocol.read(tmp_path / "protocol.json") == protocol


def change(values, dotted, new):
    *parents, last = dotted.split(".")
    for parent in parents:
        values = values[int(parent) if parent.isdigit() else parent]
    values[last] = new


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("format_version", 2, "key 'format_version' is 2: Input should be 1"),
        ("task", "roi-validation", "key 'task' is 'roi-validation': a task is a BIDS label: letters and digits only"),
        ("task", "", "a task is a BIDS label"),
        ("timing.tr_s", 0, "key 'timing.tr_s' is 0: Input should be greater than 0"),
        ("timing.tr", 1.0, "unknown key 'timing.tr'; did you mean 'tr_s'?"),
        ("timing.runs", 1.5, "key 'timing.runs' is 1.5: Input should be a valid integer"),
        ("screen.background", 256, "key 'screen.background' is 256: Input should be less than or equal to 255"),
        ("trigger.source", "mouse:1", "key 'trigger.source' is 'mouse:1': a trigger source is keyboard:KEY, serial:DEVICE, parallel:PORT"),
        ("trigger.source", "keyboard:", "a trigger source is keyboard:KEY"),
        ("trigger.source", "emulate:fast", "parallel:PORT, udp:PORT or emulate:TR_S"),
        ("trigger.source", "keyboard:5 serial:/dev/x", "two sources at once; a run has one trigger source, choose one of them"),
        ("trigger.source", "emulate:0", "a trigger source is"),
        ("trigger.source", "keyboard:1", "the trigger's key is also a response key; change one of them"),
        (
            "probe.kind",
            "two_back",
            "key 'probe.kind' is 'two_back': Input should be 'one_back', 'fixation', 'catch', 'old_new' or 'rating'",
        ),
        ("probe.fraction", 1.0, "key 'probe.fraction' is 1.0: Input should be less than 1"),
        ("probe.response_window_s", [3.0, 0.2], "a response window begins at 0 or later and before it ends"),
        ("probe.response_window_s", [-1.0, 0.2], "a response window begins at 0 or later and before it ends"),
        ("timing.jitter_s", [0.0, -1.0], "jitter is added to gap_s, so every value is 0 or more"),
        ("timing.blanks_per_run", [], "blanks_per_run is a number of blanks, 0 or more, or a list of such numbers"),
        ("timing.streak", [14, 9], "a streak is [fewest, most] image trials between two blanks"),
        ("timing.trials_per_run", 60, "repetitions and trials_per_run both say how many trials there are; give one"),
        ("blocks", {"images_per_block": 4, "blocks_per_cell": 3}, "with [blocks], timing has no repetitions, trials_per_run, "),
        ("probe.old_keys", ["2"], "old_new needs old_keys, some but not all of keys"),
        ("probe.kind", "old_new", "old_new needs old_keys, some but not all of keys"),
        (
            "conditions",
            ["target", "natural", "scrambled", "other"],
            "condition 'other' must be an identifier other than 'other' and 'blank'",
        ),
        ("conditions", ["target", "natural", "scrambled", "blank"], "condition 'blank' must be an identifier"),
        ("conditions", ["target", "natural", "scrambled", "a b"], "condition 'a b' must be an identifier"),
        ("conditions", ["target", "natural", "scrambled", "target"], "condition 'target' stands there twice; keep one"),
        (
            "conditions",
            ["target", "natural"],
            "contrast 'own_vs_scrambled' names 'scrambled'; conditions are target, natural (and 'other')",
        ),
        ("contrasts.0.expression", "target", "contrast 'target' needs at least one term on each side of '-'"),
        ("contrasts.0.expression", "target * 2 - other", "contrast 'target * 2 - other' is not of the form 'a - b' or 'a + b - c'"),
        ("contrasts.0.expression", "target natural - other", "is not of the form"),
        ("contrasts.0.expression", "target - target", "contrast 'target - target' names 'target' twice; name it once"),
        ("contrasts.0.name", "own_vs_natural", "contrast 'own_vs_natural' stands there twice; keep one"),
        ("contrasts.0.famly", "primary", "unknown key 'contrasts[0].famly'; did you mean 'family'?"),
        ("alpha", 1.0, "key 'alpha' is 1.0: Input should be less than 1"),
    ],
)
def test_each_broken_rule_is_named(key, value, expected):
    values = tomllib.loads((Path(protocols.__file__).parent / "roi_validation.toml").read_text(encoding="utf-8"))
    change(values, key, value)
    with pytest.raises(InputError) as refusal:
        parse_config(values, Protocol, "p.toml")
    assert str(refusal.value).startswith("p.toml: ")
    assert expected in str(refusal.value)
    assert len(str(refusal.value)) < 150


@given(
    plus=st.lists(identifiers, min_size=1, max_size=3),
    minus=st.lists(identifiers, min_size=1, max_size=3),
    space=st.sampled_from(["", " "]),
)
def test_contrasts_split_into_their_terms(plus, minus, space):
    if len({*plus, *minus}) == len(plus) + len(minus):
        expression = f"{space}+{space}".join(plus) + "".join(f"{space}-{space}{term}" for term in minus)
        assert split_contrast(expression) == (plus, minus)


def test_a_trial_is_image_and_gap():
    assert Timing(tr_s=1, image_s=2, gap_s=1.5, runs=1, repetitions=1).trial_s == 3.5

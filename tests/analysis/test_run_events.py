"""A run's events: what may be read in any order and with a byte order mark, and every row that is refused."""

from pathlib import Path

import pytest

from analysis.dataset import Run, find_runs
from analysis.run_events import read_events
from protocols.errors import InputError
from tests.analysis.bids_folder import write_events, write_run

END_S = 18.0


@pytest.fixture
def run(tmp_path: Path) -> Run:
    write_run(tmp_path, "sub-1/func", "sub-1_task-t_run-01")
    return find_runs(tmp_path, "t")[0]


def test_events_are_sorted_and_those_of_one_onset_keep_their_order(run: Run) -> None:
    run.events.write_text(
        "onset\tduration\ttrial_type\tstim_file\tstim_id\n"
        "9\t1\tlate\ta.png\ts3\n4\t1\tfirst\ta.png\tn/a\n-3\t2\tearly\ta.png\ts1\n4\t1\tsecond\ta.png\ts2\n"
    )
    events = read_events(run, END_S)
    assert list(events.columns) == ["onset", "duration", "trial_type", "stim_id"]
    assert events["trial_type"].tolist() == ["early", "first", "second", "late"]
    assert events["stim_id"].tolist() == ["s1", None, "s2", "s3"]
    assert events.index.tolist() == [0, 1, 2, 3]


def test_a_file_without_stim_id_gives_none(run: Run) -> None:
    assert read_events(run, END_S)["stim_id"].tolist() == [None]


def test_a_byte_order_mark_and_windows_lines_are_read_past(run: Run) -> None:
    plain = read_events(run, END_S)
    run.events.write_bytes(b"\xef\xbb\xbf" + run.events.read_bytes().replace(b"\n", b"\r\n"))
    assert read_events(run, END_S).equals(plain)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", "holds no events"),
        ("1\t0\tface\n", r"row 2: event 'face' at 1 s lasts 0 s; give the time that it was shown: .* time grid"),
        ("1\t-1\tface\n", r"row 2: event 'face' at 1 s lasts -1 s"),
        ("1\t2\tface\n18.5\t2\thouse\n", r"row 3: event 'house' at 18.5 s is beyond the last volume of .*bold.nii.gz, at 18 s"),
        ("18\t2\tface\n", r"row 2: event 'face' at 18 s is beyond the last volume"),
        ("1\t2\tface\nn/a\t2\thouse\n3\t2\tface\nn/a\t2\thouse\n", r"row 3, 5: onset is n/a; .* or delete the row"),
        ("1\tn/a\tface\n", r"row 2: duration is n/a; a model needs it: write the time that it was shown"),
        ("1\t2\tn/a\n", r"row 2: trial_type is n/a; .*name its condition"),
        ("1\t2\tface\n2,5\t2\thouse\n", r"events.tsv: a decimal comma in row 3 \(onset '2,5'\); BIDS writes decimals with a point"),
        ("1\t2,0\tface\n2\t2\thouse\n", r"events.tsv: a decimal comma in row 2 \(duration '2,0'\)"),
        ("1,0\t2,0\tface\n2,5\t2,0\thouse\n", r"events.tsv: decimal commas throughout \(onset '1,0'\).*save the table again"),
        ("soon\t2\tface\n", r"row 2: onset is 'soon', expected a number"),
        ("inf\t2\tface\n", r"row 2: onset is 'inf', expected a number"),
        ("1\t2\n", r"row 2: 2 cells, the header has 3"),
    ],
)
def test_bad_events_are_refused(run: Run, rows: str, message: str) -> None:
    write_events(run.events.parents[2], "sub-1/func", "sub-1_task-t_run-01", rows)
    with pytest.raises(InputError, match=message):
        read_events(run, END_S)


def test_a_missing_column_is_refused(run: Run) -> None:
    run.events.write_text("onset\tduration\n1\t2\n")
    with pytest.raises(InputError, match=r"missing column trial_type; found onset, duration"):
        read_events(run, END_S)


def test_all_bad_rows_are_named_up_to_five(run: Run) -> None:
    rows = "".join(f"{onset}\t0\tface\n" for onset in range(7))
    write_events(run.events.parents[2], "sub-1/func", "sub-1_task-t_run-01", rows)
    with pytest.raises(InputError, match=r"(?s)row 2: .*row 6: .*\nand 2 rows more$"):
        read_events(run, END_S)

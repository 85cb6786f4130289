"""TSV tables: what is written is what is read, whatever the cells hold; what a TSV cannot hold is refused."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import InputError
from protocols.tables import check_columns, check_unique, read_json, read_tsv, write_text, write_tsv
from tests.protocols.strategies import AWKWARD_TEXT, DTYPES, numbers, tables, text_cells

COLUMNS = {"id": "text", "note": "optional text", "count": "integer", "onset": "number", "score": "optional number"}


@given(table=tables(COLUMNS))
def test_write_then_read_is_identity(table, tmp_path):
    write_tsv(table, tmp_path / "a.tsv")
    pd.testing.assert_frame_equal(read_tsv(tmp_path / "a.tsv", COLUMNS), table)


@given(values=st.lists(numbers, min_size=1))
def test_numbers_round_trip_to_the_last_bit(values, tmp_path):
    write_tsv(pd.DataFrame({"x": values}), tmp_path / "a.tsv")
    read = read_tsv(tmp_path / "a.tsv", {"x": "number"})["x"].to_numpy()
    assert read.tobytes() == np.array(values).tobytes()


@given(extra=st.lists(st.none() | text_cells, min_size=3, max_size=3))
def test_unknown_columns_are_kept_as_text(extra, tmp_path):
    write_tsv(pd.DataFrame({"id": ["01", "02", "03"], "extra": pd.Series(extra, dtype=object)}), tmp_path / "a.tsv")
    assert read_tsv(tmp_path / "a.tsv", {"id": "text"})["extra"].tolist() == extra


def test_awkward_text_stays_text(tmp_path):
    (tmp_path / "a.tsv").write_text("id\n" + "\n".join(AWKWARD_TEXT) + "\n", encoding="utf-8")
    assert read_tsv(tmp_path / "a.tsv", {"id": "text"})["id"].tolist() == list(AWKWARD_TEXT)


def test_an_empty_table_keeps_its_dtypes(tmp_path):
    (tmp_path / "a.tsv").write_text("\t".join(COLUMNS) + "\n")
    table = read_tsv(tmp_path / "a.tsv", COLUMNS)
    assert len(table) == 0
    assert {name: table[name].dtype for name in COLUMNS} == {name: np.dtype(DTYPES[kind]) for name, kind in COLUMNS.items()}


def test_an_optional_number_of_nothing_but_missing(tmp_path):
    (tmp_path / "a.tsv").write_text("id\tscore\na\tn/a\nb\tn/a\n")
    score = read_tsv(tmp_path / "a.tsv", {"score": "optional number"})["score"]
    assert score.dtype == np.float64
    assert score.isna().all()


def test_byte_order_mark_and_windows_line_ends_are_read(tmp_path):
    (tmp_path / "a.tsv").write_bytes("\ufeffid\tonset\r\n01\t1.5\r\n".encode())
    assert read_tsv(tmp_path / "a.tsv", {"id": "text", "onset": "number"}).to_dict("list") == {"id": ["01"], "onset": [1.5]}


def test_files_are_utf8_with_line_feeds_and_n_a(tmp_path):
    write_tsv(pd.DataFrame({"id": ["é", None], "onset": [0.1, np.nan]}), tmp_path / "a.tsv")
    assert (tmp_path / "a.tsv").read_bytes() == "id\tonset\né\t0.1\nn/a\tn/a\n".encode()


@pytest.mark.parametrize(
    ("kind", "cell", "expected"),
    [
        ("text", "n/a", "row 3: x is n/a, expected text"),
        ("text", "", "row 3: x is '', expected text"),
        ("optional text", "", "row 3: x is '', expected text, or n/a for none"),
        ("number", "n/a", "row 3: x is n/a, expected a number"),
        ("number", "fast", "row 3: x is 'fast', expected a number"),
        ("number", "nan", "row 3: x is 'nan', expected a number"),
        ("number", "inf", "row 3: x is 'inf', expected a number"),
        ("number", "1,5", "row 3: x is '1,5', expected a number; write decimals with a point"),
        ("optional number", "", "row 3: x is '', expected a number"),
        ("optional number", "-,5", "row 3: x is '-,5', expected a number; write decimals with a point"),
        ("integer", "1.5", "row 3: x is '1.5', expected a whole number"),
        ("integer", "n/a", "row 3: x is n/a, expected a number"),
        ("integer", "99999999999999999999", "row 3: x is '99999999999999999999', expected a whole number"),
        ("integer", "0x10", "row 3: x is '0x10', expected a number"),
    ],
)
def test_a_cell_of_another_kind_is_refused(kind, cell, expected, tmp_path):
    (tmp_path / "a.tsv").write_text(f"id\tx\na\t1\nb\t{cell}\nc\t2\n")
    with pytest.raises(InputError) as refusal:
        read_tsv(tmp_path / "a.tsv", {"x": kind})
    assert str(refusal.value) == f"{tmp_path / 'a.tsv'} {expected}"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"id\ty\n1\t2\n", "missing column x; found id, y"),
        (b"", "missing column x; found"),
        (b"x\ty\tx\n1\t2\t3\n", "column 'x' stands there twice; keep one"),
        (b"x\ty\n1\t2\n3\n", "row 3: 1 cells, the header has 2; write it again, separated by tabs"),
        (b"x\ty\n1\t2\t3\n", "row 2: 3 cells, the header has 2"),
        (b"x\ty\n1\t2\n\n3\t4\n", "row 3: 1 cells, the header has 2"),
        (b"x,y\n1,2\n", "missing column x; found x,y"),
        (b"x\n\xff\n", "not a tab-separated UTF-8 table"),
    ],
)
def test_a_file_that_is_no_such_table_is_refused(content, expected, tmp_path):
    (tmp_path / "a.tsv").write_bytes(content)
    with pytest.raises(InputError) as refusal:
        read_tsv(tmp_path / "a.tsv", {"x": "integer"})
    assert str(refusal.value).startswith(f"{tmp_path / 'a.tsv'}")
    assert expected in str(refusal.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"a\.tsv: no such file"):
        read_tsv(tmp_path / "a.tsv", {})


@pytest.mark.parametrize("cell", ["a\tb", "a\nb", "a\rb"])
def test_a_separator_in_a_cell_is_refused_and_nothing_is_written(cell, tmp_path):
    with pytest.raises(InputError, match=r"row 3: note is .* expected text without tabs and line breaks"):
        write_tsv(pd.DataFrame({"note": ["fine", cell]}), tmp_path / "a.tsv")
    assert list(tmp_path.iterdir()) == []


def test_rows_are_counted_by_place_and_not_by_index():
    filtered = pd.DataFrame({"x": ["1", "2", "oops", "4"], "id": ["a", "b", "c", "c"]}).iloc[1:]
    with pytest.raises(InputError, match="row 3: x is 'oops'"):
        check_columns(filtered, {"x": "integer"}, "t.tsv")
    with pytest.raises(InputError, match=r"t\.tsv row 4: id 'c' stands there twice; every id must be unique"):
        check_unique(filtered, "id", "t.tsv")


def test_booleans_count_as_0_and_1_and_numbers_as_text_where_text_is_due():
    checked = check_columns(pd.DataFrame({"probe": [True, False], "subject": [1, 2]}), {"probe": "integer", "subject": "text"}, "t.tsv")
    assert checked["probe"].tolist() == [1, 0]
    assert checked["subject"].tolist() == ["1", "2"]


def test_the_given_table_is_left_as_it_was():
    given_table = pd.DataFrame({"x": ["1"]})
    check_columns(given_table, {"x": "integer"}, "t.tsv")
    assert given_table["x"].tolist() == ["1"]


def test_text_is_replaced_whole_and_no_partial_file_stays(tmp_path):
    write_text("long old text\n", tmp_path / "a.txt")
    write_text("new\n", tmp_path / "a.txt")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.txt": b"new\n"}


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"{", "cannot be read"), (b"\xff", "cannot be read"), (b"[1]", "holds list, expected a JSON object"), (None, "cannot be read")],
)
def test_an_unreadable_json_file_is_refused(content, expected, tmp_path):
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=expected) as refusal:
        read_json(tmp_path / "a.json", "copy it again")
    assert str(refusal.value).startswith(str(tmp_path / "a.json"))
    assert str(refusal.value).endswith("; copy it again")


def test_json_with_a_byte_order_mark_is_read(tmp_path):
    (tmp_path / "a.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(tmp_path / "a.json", "") == {"a": 1}

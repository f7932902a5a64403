"""Tables, lines and folders: damage is a sentence or a counted line, never a wrong row."""

from __future__ import annotations

import csv
import gzip
import io
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amif_lightning.data.files.names import is_text
from amif_lightning.data.files.tables import (
    Listing,
    TableFile,
    either,
    read_json_lines,
    read_lines,
    read_table,
)
from amif_lightning.data.schema.questions import DroppedRow
from amif_lightning.errors import UserError

few = settings(max_examples=50, deadline=None, derandomize=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


def source(path: Path, content: bytes) -> TableFile:
    path.write_bytes(content)
    return TableFile(path, "Made", "fetch it again")


def table(path: Path, content: bytes) -> tuple[list[dict[str, str]], list[DroppedRow]]:
    dropped: list[DroppedRow] = []
    rows = [dict(row) for _, row in read_table(source(path, content), ("id", "text"), dropped)]
    return rows, dropped


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_cells_may_hold_commas_quotes_and_line_breaks(folder: Path, name: str) -> None:
    content = b'\xef\xbb\xbfid,text,more\n1,"a, ""b""\nc",x\n\n2,d,\n'
    rows, dropped = table(folder / name, gzip.compress(content) if "gz" in name else content)
    assert rows == [
        {"id": "1", "text": 'a, "b"\nc', "more": "x"},
        {"id": "2", "text": "d", "more": ""},
    ]
    assert not dropped


def test_malformed_lines_are_counted_and_the_next_ones_read(folder: Path) -> None:
    rows, dropped = table(folder / "a.csv", b'id,text\n1\n2,a,b\n3,"c"d\n4,\x00\n5,e\n')
    assert rows == [{"id": "5", "text": "e"}]
    assert [row.detail for row in dropped] == [
        "line 2: 1 cells under 2 columns",
        "line 3: 3 cells under 2 columns",
        "line 4: ',' expected after '\"', to line 4",
        "line 5: a NUL character",
    ]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        (b"id,words\n", "has no column 'text' (it has id, words)"),
        (b"id,text,id\n", "has more than one column 'id' (it has id, text, id)"),
        (b'id,text\n1,a\n2,"b\n3,c\n', "ends within a quoted cell that begins at line 3"),
        (b"id,text\n1,\xff\n", "is not UTF-8 text"),
    ],
)
def test_a_damaged_table_is_one_sentence(folder: Path, content: bytes, what: str) -> None:
    with pytest.raises(UserError) as caught:
        table(folder / "a.csv", content)
    assert str(caught.value) == f"Made: {folder / 'a.csv'} {what}, so fetch it again."


@pytest.mark.parametrize("keep", [5, 30])
def test_a_packed_file_that_is_cut_is_one_sentence(folder: Path, keep: int) -> None:
    packed = gzip.compress(b"id,text\n" + b"".join(b"%d,x\n" % i for i in range(99)))
    with pytest.raises(UserError, match=r"a\.csv\.gz cannot be read \(.*\), so fetch"):
        table(folder / "a.csv.gz", packed[:keep])
    with pytest.raises(UserError, match="cannot be read"):
        list(read_lines(source(folder / "a.gz", packed[:keep]), []))


def test_missing_files_are_named(tmp_path: Path) -> None:
    missing = TableFile(tmp_path / "none", "Made", "fetch it")
    for rows in (
        read_lines(missing, []),
        read_json_lines(missing, []),
        read_table(missing, ("id",), []),
    ):
        with pytest.raises(UserError, match=r"none is not there, so"):
            list(rows)


@few
@given(content=st.binary(max_size=300), packed=st.booleans(), named=st.booleans())
def test_any_bytes_are_rows_or_a_sentence(
    folder: Path, content: bytes, packed: bool, named: bool
) -> None:
    content = b"id,text\n" + content if named else content
    path = folder / ("any.csv.gz" if packed else "any.csv")
    try:
        rows, _ = table(path, gzip.compress(content) if packed else content)
    except UserError as error:
        assert str(error).startswith(f"Made: {path} ")  # noqa: PT017 (either end is allowed)
        return
    assert all(is_text(cell) for row in rows for cell in row.values())


words = st.text(st.characters(codec="utf-8", exclude_characters='\0\r"'), max_size=20)


@few
@given(
    texts=st.lists(words, max_size=8),
    bad=st.text(st.sampled_from('ab,"\t ;\\'), min_size=1, max_size=8),
    place=st.integers(0, 8),
)
def test_a_bad_line_changes_no_other_row(
    folder: Path, texts: list[str], bad: str, place: int
) -> None:
    stream = io.StringIO(newline="")
    lines: list[str] = []
    for number, text in enumerate(texts):
        csv.writer(stream, lineterminator="\n").writerow([number, text])
        lines.append(stream.getvalue())
        stream.seek(0)
        stream.truncate()
    lines.insert(place, f"{bad}\n")
    try:
        rows, _ = table(folder / "bad.csv", ("id,text\n" + "".join(lines)).encode())
    except UserError as error:
        assert "quoted cell" in str(error)  # noqa: PT017 (either end is allowed)
        return
    written = {str(number): text for number, text in enumerate(texts)}
    found = {row["id"]: row["text"] for row in rows if row["id"] in written}
    assert all(written[name] == text for name, text in found.items())
    if '"' not in bad and not any("\n" in text for text in texts):
        assert found == written


@few
@given(st.lists(st.one_of(st.binary(max_size=40), st.just(b'{"a": "\\ud800"}')), max_size=6))
def test_any_lines_are_objects_or_counted(folder: Path, lines: list[bytes]) -> None:
    content = b"\n".join([*lines, b'{"a": 1}'])
    dropped: list[DroppedRow] = []
    found = list(read_json_lines(source(folder / "any.jsonl", content), dropped))
    assert found[-1] == (content.count(b"\n") + 1, {"a": 1})
    blank = sum(not _text(line).strip() for line in content.split(b"\n") if _text(line) is not None)
    assert len(found) + len(dropped) + blank == content.count(b"\n") + 1


def _text(line: bytes) -> str:
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError:
        return "no text"


@pytest.mark.parametrize("line", [b"9" * 5000, b"[" * 100_000, b"[]", b'"a"', b"{"])
def test_json_of_other_kinds_is_counted(folder: Path, line: bytes) -> None:
    dropped: list[DroppedRow] = []
    assert not list(read_json_lines(source(folder / "a.jsonl", line), dropped))
    assert [row.question_id for row in dropped] == ["Made/a.jsonl/1"]


def test_only_line_feeds_end_a_line(folder: Path) -> None:
    content = "a\u2028b\x85c\x0cd\r\n\ne".encode()
    found = list(read_lines(source(folder / "a.txt", content), []))
    assert found == [(1, "a\u2028b\x85c\x0cd"), (3, "e")]


def test_a_folder_is_listed_once(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    listing = Listing(kept=1)
    assert listing.has(tmp_path / "a.png")
    (tmp_path / "b.png").touch()
    assert not listing.has(tmp_path / "b.png")
    assert not listing.has(tmp_path / "none" / "b.png")  # forgets the first folder
    assert listing.has(tmp_path / "b.png")


def test_the_packed_table_comes_first(tmp_path: Path) -> None:
    assert either(tmp_path, "a.csv").name == "a.csv.gz"
    (tmp_path / "a.csv").touch()
    assert either(tmp_path, "a.csv").name == "a.csv"
    (tmp_path / "a.csv.gz").touch()
    assert re.fullmatch(r"a\.csv\.gz", either(tmp_path, "a.csv").name)

"""Change valid files: bits, lengths and, where the format is text, fields, names and encodings."""

from __future__ import annotations

import copy
import gzip
import json
import zlib
from pathlib import PurePosixPath
from random import Random
from typing import Any

#: Values in the place of any JSON value, as JSON text.
VALUES = (
    *("null", "true", "{}", "[]", "0", "-1", "1.5", "1e999", "-1e999", "NaN", '""', '" "'),
    *("18446744073709551616", "9" * 5000, '"9999999999999999999"', '"\\ud800"', '"a\\u0000b"'),
    *('"a\\u001b[31m\\nb"', '"\\u2028"', '"../../../x"', '"/etc/hostname"', '"..\\\\x"', '"a/b"'),
    *('"' + "n" * 300 + '"', '"' + "x " * 50_000 + '"', '"' + "d/" * 2000 + '"', '"漢字é"'),
    *("[" * depth + "]" * depth for depth in (30, 900, 100_000)),
    *('{"a":' * depth + "1" + "}" * depth for depth in (30, 900, 100_000)),
)
#: Cells of tables and fields of lines.
CELLS = (
    *("", " ", "0", "-1", "1e999", "nan", "9" * 5000, "\0", "\x1b[31m", "\ufeff", "\u2028", "漢é"),
    *(
        "../../../x",
        "/etc/hostname",
        "..\\x",
        "C:\\x",
        "a/b",
        "n" * 300,
        "d/" * 2000,
        "x " * 50_000,
    ),
    *(
        '"',
        '""',
        '"a',
        ",",
        "|",
        "||||",
        "\t",
        "#",
        "(" * 30,
        "(a)" * 12,
        "[",
        '["a", 1]',
        "[" * 900,
    ),
)
_ENCODINGS = ("utf-16", "utf-8-sig", "latin-1", "utf-32", "cp037")
_MARK = "@@mutated@@"


def mutated(data: bytes, name: str, rng: Random) -> bytes:
    """Return a file's content with one or a few changes that fit the suffix of its name."""
    suffix = PurePosixPath(name).suffix
    if suffix == ".gz" and rng.random() < 0.8:
        return gzip.compress(mutated(gzip.decompress(data), name.removesuffix(".gz"), rng))
    change = {
        ".json": _json,
        ".jsonl": _lines_of_json,
        ".csv": _cells,
        ".tsv": _cells,
        ".txt": _cells,
        ".png": _chunks,
    }.get(suffix, _bytes)
    if change is not _bytes and rng.random() < 0.3:
        change = _encoding if suffix != ".png" and rng.random() < 0.3 else _bytes
    return change(data, rng)


def _bytes(data: bytes, rng: Random) -> bytes:
    broken = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        # Headers are at the beginning, directories of zip and TIFF at the end.
        size = len(broken)
        area = rng.choice((size, min(size, 64), min(size, 512)))
        place = rng.randrange(area) if area else 0
        place = size - 1 - place if area < size and rng.random() < 0.3 else place
        length = rng.choice((1, 2, 4, 8, 64))
        kind = rng.randrange(8)
        if kind == 0 and broken:
            broken[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del broken[place:]
        elif kind == 2:
            broken[place:place] = rng.randbytes(length)
        elif kind == 3:
            del broken[place : place + length]
        elif kind == 4:
            broken[place:place] = broken[place : place + 64 * length]
        elif kind == 5:
            broken[place : place + length] = rng.choice((b"\0", b"\xff", b"\x7f")) * length
        elif kind == 6:
            number = rng.choice((0, 1, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1))
            order = rng.choice(("little", "big"))
            broken[place : place + 4] = number.to_bytes(4, order)  # type: ignore[arg-type]  # these
        elif broken:
            broken[place] = rng.randrange(256)
    return bytes(broken)


def _chunks(data: bytes, rng: Random) -> bytes:
    """Change a chunk of a PNG and correct its checksum, which decoders compare first."""
    chunks, place = [], 8
    while place < len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    number = rng.randrange(len(chunks))
    kind, body = chunks[number]
    if rng.random() < 0.3:
        chunks.insert(rng.randrange(len(chunks) + 1), (rng.choice((b"PLTE", b"tRNS", kind)), body))
    else:
        chunks[number] = (kind, _bytes(body, rng))
    parts = [
        len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
        for kind, body in chunks
    ]
    return data[:8] + b"".join(parts)


def _encoding(data: bytes, rng: Random) -> bytes:
    text = data.decode("utf-8", "replace")
    return text.encode(rng.choice(_ENCODINGS), "replace")


def _json(data: bytes, rng: Random) -> bytes:
    return _changed(json.loads(data), rng, indent=1)


def _lines_of_json(data: bytes, rng: Random) -> bytes:
    lines = data.rstrip(b"\n").split(b"\n")
    place = rng.randrange(len(lines))
    kind = rng.randrange(8)
    if kind == 0:
        lines.insert(place, rng.choice((b"", b" ", b"[]", b"7", b'"a"', b"{", b"\xff", lines[-1])))
    elif kind == 1:
        del lines[place]
    else:
        lines[place] = _changed(json.loads(lines[place]), rng)
    return b"\n".join(lines) + rng.choice((b"\n", b"", b"\n\n"))


def _changed(tree: Any, rng: Random, indent: int | None = None) -> bytes:
    """JSON text with a value replaced, removed, repeated, renamed or exchanged."""
    tree = copy.deepcopy(tree)
    value = _MARK
    for _ in range(rng.choice((1, 1, 2))):
        spots = list(_spots(tree))
        if not spots:
            break
        owner, key = rng.choice(spots)
        kind = rng.randrange(10)
        if kind == 0:
            del owner[key]
        elif kind == 1 and isinstance(owner, dict):
            owner[rng.choice((f"{key} ", key.upper(), "", "\0"))] = owner.pop(key)
        elif kind == 2 and isinstance(owner, list):
            owner[key:key] = [owner[key]] * rng.choice((1, 2, 50))
        elif kind == 3:
            other, name = rng.choice(spots)
            owner[key] = copy.deepcopy(other[name])
        elif kind == 4:
            owner[key] = [owner[key]] if rng.random() < 0.5 else {"a": owner[key]}
        else:
            owner[key] = value
    text = json.dumps(tree, indent=indent)
    return text.replace(f'"{_MARK}"', rng.choice(VALUES)).encode("utf-8", "surrogatepass")


def _spots(tree: Any) -> Any:
    """Every owner and key of a tree, the levels equally often in a random choice of rows."""
    keys = list(tree) if isinstance(tree, dict) else range(len(tree))
    for key in keys:
        yield tree, key
        if isinstance(tree[key], dict | list) and tree[key]:
            yield from _spots(tree[key])


def _cells(data: bytes, rng: Random) -> bytes:
    """Text with a line or a cell changed; the header, the first line, more often."""
    lines = data.decode("utf-8").split("\n")
    for _ in range(rng.choice((1, 1, 2))):
        place = 0 if rng.random() < 0.25 else rng.randrange(len(lines))
        line = lines[place]
        mark = max("\t|,", key=line.count)
        cells = line.split(mark) if mark in line else line.split(" ")
        number, kind = rng.randrange(len(cells)), rng.randrange(9)
        if kind == 0:
            del cells[number]
        elif kind == 1:
            cells.insert(number, rng.choice((cells[number], *CELLS)))
        elif kind == 2:
            cells = cells * rng.choice((2, 200))
        elif kind == 3:
            lines.insert(place, rng.choice((line, "", " ", rng.choice(lines))))
        elif kind == 4:
            cells[number] = f'"{cells[number]}'
        else:
            cells[number] = rng.choice(CELLS)
        lines[place] = (mark if mark in line else " ").join(cells)
    return rng.choice(("\n", "\n", "\n", "\r\n", "\r")).join(lines).encode("utf-8", "surrogatepass")

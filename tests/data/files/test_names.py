"""Names that could leave a folder, and texts that are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from amif_lightning.data.files.names import inside, is_text, under
from amif_lightning.errors import UserError


@pytest.mark.parametrize(
    ("path", "plain"),
    [
        (" a/b.png ", "a/b.png"),
        ("./a//b.png", "a/b.png"),
        ("a/..b/c", "a/..b/c"),
        *((bad, None) for bad in ("", ".", "/etc/a", "../a", "a/../../b", "a\\..\\b", "C:\\a")),
    ],
)
def test_paths_stay_inside(path: str, plain: str | None) -> None:
    assert inside(path) == plain


def test_halves_of_characters_and_nul_are_not_text() -> None:
    assert is_text("caf\u00e9")
    assert not any(map(is_text, ("\ud800", "a\0", 3, None)))


def test_a_name_is_joined_or_refused_in_one_line(tmp_path: Path) -> None:
    assert under(tmp_path, "a/b.png") == tmp_path / "a" / "b.png"
    with pytest.raises(UserError, match="leaves the folder") as caught:
        under(tmp_path, "../\x1b[2Ja\nb\ud800")
    assert r"\x1b[2Ja\nb\ud800" in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_link_of_the_user_is_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.png").touch()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "images").symlink_to(tmp_path / "elsewhere")
    assert under(tmp_path / "root", "images/a.png").is_file()

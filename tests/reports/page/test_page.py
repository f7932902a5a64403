"""The page says what the Markdown says, escapes everything, and needs nothing beside it."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from amif_lightning.errors import UserError
from amif_lightning.reports.command import main
from amif_lightning.reports.groups import collect, group_answers
from amif_lightning.reports.page.page import Options, page
from amif_lightning.reports.records import find_records
from amif_lightning.reports.retrieval_groups import group_searches
from amif_lightning.reports.table import notes, rows_of, verdicts

Writer = Callable[..., Path]


class Texts(HTMLParser):
    """What a reader sees, and which elements there are."""

    VOID = frozenset({"meta", "img", "br", "link"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.style = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" in self.open:
            self.style += data
        else:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def made(folder: Path, **options: object) -> Texts:
    found = find_records(folder)
    groups, searches = group_answers(found.answering), group_searches(found.retrieval)
    text = page(groups, searches, Options(**options))  # type: ignore[arg-type]  # by name
    texts = Texts(text)
    assert not texts.open  # every element is closed
    return texts


def _words(cells: Iterator[str] | list[str]) -> list[str]:
    return [" ".join(cell.split()) for cell in cells if cell.strip()]


def test_every_sentence_and_number_of_the_tables_is_there(
    write_run: Writer, tmp_path: Path
) -> None:
    for seed in (0, 1):
        write_run(seed)
        write_run(seed, experiment="other", accuracy=0.7)
    groups = collect(tmp_path)
    shown = made(tmp_path, baselines=["vqa-rad"])
    for sentence in [*verdicts(groups), *notes(groups)]:
        assert " ".join(sentence.split()) in shown.text
    for group in groups:
        for row in rows_of(group):
            for cell in _words(row[4:]):
                assert cell in shown.text
    assert "p = " in shown.text or "p < " in shown.text  # McNemar
    assert "other: 8." in shown.text or "points of accuracy" in shown.text
    (bars,) = [a for a in shown.all("svg") if a.get("class") == "bars"]
    assert "other" in str(bars["aria-label"])


def test_nothing_is_fetched_and_nothing_is_run(write_run: Writer, tmp_path: Path) -> None:
    write_run(0)
    shown = made(tmp_path, published=True)
    assert not shown.all("script")
    assert not shown.all("link")
    (policy,) = [a for a in shown.all("meta") if a.get("http-equiv")]
    assert str(policy["content"]).startswith(
        "default-src 'none'; img-src data:; style-src 'sha256-"
    )
    for _, attributes in shown.tags:
        assert "style" not in attributes  # the policy would drop it
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href"):
            assert str(attributes.get(name) or "#").startswith(("#", "data:"))
    assert not re.findall(r"url\(|@import|https?:", shown.style)


def test_what_records_hold_is_text(write_run: Writer, tmp_path: Path) -> None:
    evil = "<script>alert('&')</script>"
    write_run(0, warnings=(evil,), versions={"torch": evil}, config={"note": evil, "lr": 1e-3})
    text = page(collect(tmp_path), [])
    assert "<script" not in text
    assert text.count(html.escape(evil, quote=False).replace("'", "&#39;")) >= 3


def test_sections_are_kept_apart(write_run: Writer, write_search: Writer, tmp_path: Path) -> None:
    write_run(0)
    write_run(0, protocol="literature")
    write_run(0, dataset="SLAKE", experiment="slake")
    write_search(0)
    shown = made(tmp_path)
    assert len(shown.all("section")) == 4
    assert "Numbers of different sections cannot be compared." in shown.text
    assert shown.text.count("literature (test answers visible)") > 3
    # Side by side, each row with its label.
    assert shown.text.count("All configurations that answered") >= 1
    tables = shown.text.partition("Overview")[2].partition("What the records say")[0]
    for label in ("VQARAD osf clean test", "VQARAD osf literature (test answers visible) test"):
        assert label in tables
    links = [a["href"] for a in shown.all("a")]
    assert links == [f"#section-{number}" for number in range(1, 5)]
    assert {a.get("id") for a in shown.all("section")} == {str(link)[1:] for link in links}


def test_one_section_needs_no_warning(write_run: Writer, tmp_path: Path) -> None:
    write_run(0)
    shown = made(tmp_path)
    assert len(shown.all("section")) == 1
    assert "cannot be compared" not in shown.text
    assert "literature" not in shown.text


def test_a_search_has_its_tables(write_search: Writer, tmp_path: Path) -> None:
    for seed in (0, 1):
        write_search(seed)
        write_search(seed, experiment="less", skill=0.5)
    shown = made(tmp_path, baselines=["full"])
    assert "precision@5" in shown.text
    (bars,) = [a for a in shown.all("svg") if a.get("class") == "bars"]
    assert "less" in str(bars["aria-label"])
    # Without a baseline the pairs are listed, and no picture pretends that there is one.
    assert not [a for a in made(tmp_path).all("svg") if a.get("class") == "bars"]


def test_a_baseline_of_another_section_says_nothing(
    write_run: Writer, write_search: Writer, tmp_path: Path
) -> None:
    write_run(0)
    write_search(0)
    assert "Nothing is compared" not in made(tmp_path, baselines=["full", "vqa-rad"]).text


def test_provenance_is_complete(write_run: Writer, tmp_path: Path) -> None:
    path = write_run(3, git_dirty=True)
    shown = made(tmp_path).text
    for said in (
        "0123456789 (dirty)",
        "2026-01-02T03:04:05+00:00",
        "torch 2.8.0",
        "Xeon",
        "best.ckpt",
        "seed_everything: 3",
        "lr: 0.001",
        f"fit --config {path.parent / 'config.yaml'}",
        "202 of 203 test images also occur in train (official split).",
    ):
        assert said in shown


def test_headings_are_in_order(write_run: Writer, write_search: Writer, tmp_path: Path) -> None:
    write_run(0)
    write_search(0)
    levels = [
        int(tag[1]) for tag, _ in made(tmp_path, published=True).tags if re.match("h[1-6]", tag)
    ]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_published_numbers_stand_apart_by_protocol(write_run: Writer, tmp_path: Path) -> None:
    write_run(0)
    shown = made(tmp_path, published=True).text
    assert "not measured here" in shown
    assert "Protocol: literature (test answers visible)" in shown
    assert "Protocol: not stated" in shown
    assert "pengfeiliHEU/MUMC" in shown


def test_the_command_writes_the_page(
    write_run: Writer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(0)
    path = tmp_path / "new" / "page.html"
    assert main([str(tmp_path), "--html", str(path)]) == 0
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")
    printed = capsys.readouterr().out
    assert "## Results" in printed
    assert f"Page written to {path}." in printed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--html", "page.md"], "end its name in .html"),
        (["--images", "."], "belong to --html"),
        (["--no-images"], "belong to --html"),
        (["--html", "a.html", "--images", "none"], "--images none is not a folder"),
        (["--html", "a.html", "--images", ".", "--no-images"], "contradict each other"),
    ],
)
def test_options_that_do_not_fit(
    write_run: Writer,
    tmp_path: Path,
    words: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_run(0)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        main(["runs", *words])
    assert not list(tmp_path.glob("*.html"))

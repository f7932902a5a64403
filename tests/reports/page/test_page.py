from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from amif_lightning.reports.analysis.groups import collect
from amif_lightning.reports.page.page import Options, page
from amif_lightning.reports.render.local_tables import local_tables
from amif_lightning.reports.render.local_verdict import local_sentences
from amif_lightning.reports.render.tables import answer_table, search_table

Writer = Callable[..., Path]
VOID = {"meta", "img", "br", "wbr", "link"}
APART = "Numbers of different sections cannot be compared."


class Reader(HTMLParser):
    """Tags with attributes, headings with their text, and cells; complains of bad nesting."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[tuple[int, str]] = []
        self.cells: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if re.fullmatch("h[1-6]", tag):
            self.headings.append((int(tag[1]), ""))
        if tag in ("td", "th"):
            self.cells.append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if any(re.fullmatch("h[1-6]", tag) for tag in self.open):
            level, text = self.headings[-1]
            self.headings[-1] = (level, f"{text} {' '.join(data.split())}".strip())
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += data


def made(folder: Path, **options: object) -> str:
    answers, searches = collect(folder)
    wanted = Options(**options)  # type: ignore[arg-type]  # the tests' own words
    return page(folder, answers, searches, wanted)


@pytest.fixture
def both(write_run: Writer, write_search: Writer, tmp_path: Path) -> Path:
    """Two configurations of both kinds."""
    for name, accuracy, skill in (("base", 0.5, 1.0), ("better", 0.7, 2.0)):
        for seed in range(2):
            write_run(seed, experiment=name, accuracy=accuracy)
            write_search(seed, experiment=name, skill=skill)
    return tmp_path


def test_sections_stand_in_order_and_headings_leave_no_level_out(both: Path) -> None:
    text = made(both, baselines=("base",), published=True)
    reader = Reader(text)
    assert reader.open == []
    levels = [level for level, _ in reader.headings]
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))
    titles = [title for level, title in reader.headings if level == 2]
    assert [title.split(":")[0] for title in titles] == [
        "Verdicts",
        "VQARAD osf",
        "Phantom 112px",
        "Published numbers",
        "Provenance",
    ]
    parts = ["Results", "Comparisons", "Scores at a glance", "Sample answers"]
    own = [title for level, title in reader.headings if level == 3 and title in parts]
    assert own == parts + parts[:-1]
    assert APART in text


def test_tables_hold_the_cells_of_the_markdown(both: Path) -> None:
    text = made(both)
    cells = Reader(text).cells
    answers, searches = collect(both)
    table = answer_table(answers)
    for row in table.rows:
        named = dict(zip(table.header, row, strict=True))
        for column in ("accuracy % (± std over seeds)", "95 % interval", "shuffled images %"):
            assert named[column] in cells
    assert "shuffled images %" in cells
    plain = unescape(text).replace("\N{NO-BREAK SPACE}", " ")
    for legend in (table.legend, search_table(searches).legend):
        assert plain.count(legend.split(".")[0]) == 1
    # McNemar per equal seed stands in the comparisons.
    assert any(re.match(r"seed 0: \d+/\d+, p", cell) for cell in cells)


def test_local_alignment_stands_as_in_the_markdown(write_search: Writer, tmp_path: Path) -> None:
    for name, skill in (("base", 0.3), ("better", 2.0)):
        write_search(0, experiment=name, pairs={"skill": skill})
    _, groups = collect(tmp_path)
    text = made(tmp_path, baselines=("base",))
    reader = Reader(text)
    assert (3, "Local alignment") in reader.headings
    for table in local_tables(groups):
        assert all(cell in reader.cells for row in table.rows for cell in row[3:])
    said = local_sentences(groups, ["base"])
    assert any("better is above base in hard AUC" in sentence for sentence in said)
    for sentence in said:
        # The heading says the data and the split.
        assert sentence.removeprefix("Phantom 112px [retrieval, test]: ") in text
        assert sentence not in text


def test_the_page_needs_nothing_else(both: Path) -> None:
    reader = Reader(made(both, published=True))
    policies = [a["content"] for t, a in reader.tags if a.get("http-equiv")]
    assert [str(policy).split(";")[0] for policy in policies] == ["default-src 'none'"]
    assert "script" not in {tag for tag, _ in reader.tags}
    assert "link" not in {tag for tag, _ in reader.tags}
    for tag, attributes in reader.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert (attributes.get("src") or "data:").startswith("data:")
        assert (attributes.get("href") or "#").startswith("#")
    targets = {str(a["href"])[1:] for _, a in reader.tags if a.get("href")}
    assert targets <= {a.get("id") for _, a in reader.tags}
    style = made(both).split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_images_have_words_and_boxes_a_focus(both: Path) -> None:
    reader = Reader(made(both, baselines=("base",)))
    for tag, attributes in reader.tags:
        if tag == "svg":
            assert attributes["role"] == "img"
            assert attributes["aria-label"]
        if "scroll" in str(attributes.get("class")).split():
            assert attributes["tabindex"] == "0"
    assert ("html", {"lang": "en"}) in reader.tags
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_whatever_records_say_is_escaped(write_run: Writer, tmp_path: Path) -> None:
    attack = "<script>alert(1)<b x='\"&"
    path = write_run(
        0,
        experiment=f"{attack}-name",
        warnings=(f"{attack}-warning",),
        majority_answer=f"{attack}-majority",
        config={"note": f"{attack}-config"},
        versions={"torch": f"{attack}-version"},
    )
    lines = path.with_name("predictions-test.jsonl")
    old = lines.read_text(encoding="utf-8")
    quoted = attack.replace('"', '\\"')
    old = old.replace("is there a nodule?", f"{quoted}-question")
    old = old.replace('"prediction": "yes"', f'"prediction": "{quoted}-answer"')
    lines.write_text(old.replace('"image": "', f'"image": "{quoted}-image'), encoding="utf-8")
    text = made(tmp_path)
    safe = "&lt;script&gt;alert(1)&lt;b x=&#39;&#34;&amp;"
    for part in ("name", "warning", "majority", "config", "version", "question", "answer"):
        assert f"{safe}-{part}" in text
    assert "<script" not in text
    assert "<b x" not in text
    assert Reader(text).open == []


def test_visible_test_answers_cannot_be_missed(write_run: Writer, tmp_path: Path) -> None:
    write_run(0)
    label = "literature (test answers visible)"
    assert label not in made(tmp_path)
    assert APART not in made(tmp_path)
    write_run(0, protocol="literature")
    text = made(tmp_path)
    assert APART in text
    assert text.index(label) < text.index('id="verdicts"')
    marked = [title for _, title in Reader(text).headings if title.endswith(label)]
    # Above its verdicts and above its section.
    assert len(marked) == 2
    titles = [title for level, title in Reader(text).headings if level == 2]
    assert sum(title.startswith("VQARAD osf: answering") for title in titles) == 2


def test_untrained_weights_are_marked(write_run: Writer, tmp_path: Path) -> None:
    write_run(0, untrained=True)
    marked = [t for _, t in Reader(made(tmp_path)).headings if t.endswith("untrained weights")]
    assert len(marked) == 2


def test_verdicts_have_the_tone_of_their_claim(write_run: Writer, tmp_path: Path) -> None:
    write_run(0, experiment="used", accuracy=0.7)
    write_run(0, experiment="blind", accuracy=0.3)
    write_run(0, experiment="unknown", control=None)
    text = made(tmp_path)
    tones = re.findall(r'<article class="card (\w+)">\s*<h4>(\w+)', text)
    assert tones == [("no", "blind"), ("open", "unknown"), ("yes", "used")]


def test_runs_without_results_are_named_and_equal_runs_give_equal_pages(both: Path) -> None:
    waiting = both / "runs" / "waiting" / "clean" / "seed0"
    waiting.mkdir(parents=True)
    (waiting / "config.yaml").write_text("a: 1\n")
    text = made(both)
    assert f"<li>{waiting}</li>" in text
    assert text == made(both)

from __future__ import annotations

import itertools
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from amif_lightning.reports.analysis.groups import collect
from amif_lightning.reports.page.page import page, unfinished
from amif_lightning.reports.render.local_alignment import local_sentences, local_tables
from amif_lightning.reports.render.tables import answer_table, search_table
from tests.reports.conftest import Writer, write_answers, write_searches

VOID = {"meta", "img", "br", "wbr", "link"}
APART = "Numbers of different sections cannot be compared."


class Reader(HTMLParser):
    """Tags with attributes, headings with their text, and cells; fails on bad nesting."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.headings: list[tuple[int, str]] = []
        self.cells: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

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

    def titles(self, level: int) -> list[str]:
        return [title for found, title in self.headings if found == level]


def made(folder: Path, *baselines: str, **options: Any) -> str:
    return page(folder, *collect(folder), baselines, **options)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two configurations of both kinds, and a run without a result."""
    folder = tmp_path_factory.mktemp("both")
    for name, accuracy, skill in (("base", 0.5, 0.3), ("better", 0.7, 2.0)):
        for seed in range(2):
            write_answers(folder / "runs", seed, experiment=name, accuracy=accuracy)
        pairs = {"skill": skill}
        write_searches(folder / "searches", experiment=name, skill=skill, pairs=pairs)
    waiting = folder / "runs" / "waiting" / "clean" / "seed0"
    waiting.mkdir(parents=True)
    for place in (waiting, folder / "runs" / "base" / "clean" / "seed0"):
        (place / "config.yaml").write_text("a: 1\n")
    return folder


@pytest.fixture(scope="module")
def text(both: Path) -> str:
    return made(both, "base", published=True)


@pytest.fixture(scope="module")
def reader(text: str) -> Reader:
    return Reader(text)


def test_sections_are_in_order_and_headings_skip_no_level(reader: Reader, text: str) -> None:
    levels = [level for level, _ in reader.headings]
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in itertools.pairwise(levels))
    assert [title.split(":")[0] for title in reader.titles(2)] == [
        "Verdicts",
        "VQARAD osf",
        "Phantom 112px",
        "Published numbers",
        "Provenance",
        "Glossary",
    ]
    local = ["Scores at a glance", "Results", "Local alignment", "Comparisons"]
    parts = ["Scores at a glance", "Accuracy by question type", "Results"]
    parts += ["Frequent wrong answers", "Comparisons", "Sample answers"]
    own = [title for title in reader.titles(3) if title in {*parts, *local}]
    assert own == parts + local
    assert APART in text


def test_tables_and_sentences_are_those_of_the_markdown(
    both: Path, reader: Reader, text: str
) -> None:
    answers, searches = collect(both)
    table = answer_table(answers)
    for row in table.rows:
        named = dict(zip(table.header, row, strict=True))
        for column in ("accuracy % (± std over seeds)", "95 % interval", "shuffled images %"):
            assert named[column] in reader.cells
    plain = unescape(text).replace("\N{NO-BREAK SPACE}", " ")
    for legend in (table.legend, search_table(searches).legend):
        assert plain.count(legend.split(".")[0]) == 1
    assert any(re.match(r"seed 0: \d+/\d+, p", cell) for cell in reader.cells)  # McNemar
    for table in local_tables(searches):
        assert all(cell in reader.cells for row in table.rows for cell in row[3:])
    sentences = local_sentences(searches, ["base"])
    assert any("better is above base in hard AUC" in sentence for sentence in sentences)
    for sentence in sentences:
        # The heading names the data and the split.
        assert sentence.removeprefix("Phantom 112px [retrieval, test]: ") in plain
        assert sentence not in plain


def test_the_page_needs_no_other_file_and_is_accessible(reader: Reader, text: str) -> None:
    policies = [a["content"] for t, a in reader.tags if a.get("http-equiv")]
    assert [str(policy).split(";")[0] for policy in policies] == ["default-src 'none'"]
    assert not {"script", "link"} & {tag for tag, _ in reader.tags}
    assert ("html", {"lang": "en"}) in reader.tags
    for tag, attributes in reader.tags:
        assert not [name for name in attributes if name.startswith("on")], tag
        assert (attributes.get("src") or "data:").startswith("data:")
        assert (attributes.get("href") or "#").startswith("#")
        if tag == "svg":
            assert attributes["role"] == "img"
            assert attributes["aria-label"]
        if "scroll" in str(attributes.get("class")).split():
            assert attributes["tabindex"] == "0"
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {str(a["href"])[1:] for _, a in reader.tags if a.get("href")} <= set(ids)
    style = text.split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style


def test_runs_without_results_are_named_and_equal_runs_give_equal_pages(
    both: Path, text: str
) -> None:
    waiting = both / "runs" / "waiting" / "clean" / "seed0"
    assert unfinished(both) == [waiting]
    assert f"<li>{waiting}</li>" in text
    assert text == made(both, "base", published=True)


def test_text_of_records_is_escaped(write_run: Writer, tmp_path: Path) -> None:
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
    Reader(text)


def test_visible_test_answers_are_prominent(write_run: Writer, tmp_path: Path) -> None:
    write_run(0)
    label = "literature (test answers visible)"
    text = made(tmp_path)
    assert label not in text
    assert APART not in text
    write_run(0, protocol="literature")
    text = made(tmp_path)
    assert APART in text
    assert text.index(label) < text.index('id="verdicts"')
    reader = Reader(text)
    # Above its verdicts and above its section.
    assert len([title for _, title in reader.headings if title.endswith(label)]) == 2
    assert sum(title.startswith("VQARAD osf: answering") for title in reader.titles(2)) == 2


def test_verdicts_have_the_tone_of_their_claim(write_run: Writer, tmp_path: Path) -> None:
    write_run(0, experiment="used", accuracy=0.7)
    write_run(0, experiment="blind", accuracy=0.3)
    write_run(0, experiment="unknown", control=None)
    write_run(0, experiment="bare", accuracy=0.3, untrained=True)
    text = made(tmp_path)
    tones = re.findall(r'<article class="card (\w+)">\s*<h4>(\w+)', text)
    assert tones == [("no", "bare"), ("no", "blind"), ("open", "unknown"), ("yes", "used")]
    marked = [t for _, t in Reader(text).headings if t.endswith("untrained weights")]
    assert len(marked) == 2


def test_the_provenance_of_a_configuration(
    write_run: Writer, write_search: Writer, tmp_path: Path
) -> None:
    path = write_run(0)
    write_run(1, test_runs=2, git_dirty=True, predictions=False)
    write_search(0, git_commit=None, git_dirty=None, checkpoint=None)
    text = unescape(made(tmp_path)).split('id="provenance"')[1]
    facts = re.findall("<dt>(.*?)</dt><dd>(.*?)</dd>", text)
    commit = "0123456789abcdef0123456789abcdef01234567"
    for fact in (
        ("commit", f"{commit} (clean), {commit} (with uncommitted changes)"),
        ("seeds", "0, 1"),
        ("test runs", "1, 2"),
        ("hardware", "Xeon, 2 cores, 8 GiB"),
        ("time per seed", "train 13 min, test 31 s, control 12 s"),
        ("versions", "python 3.11.7, torch 2.8.0, lightning 2.6.6"),
        ("run folders", f"{path.parent}, {path.parent.with_name('seed1')}"),
        ("commit", "unknown"),
        ("weights", "no checkpoint"),
    ):
        assert fact in facts
    # The page's headings replace the heads of the Markdown's notes.
    assert "<li>202 of 203 test images also occur in train (official split).</li>" in text
    assert re.search("<li>/.*predictions-test.jsonl is missing", text)
    (config, _) = re.findall("<pre[^>]*>(.*?)</pre>", text, re.DOTALL)
    assert yaml.safe_load(config)["model"] == {"init_args": {"lr": 1e-3}}

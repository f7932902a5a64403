"""The report as Markdown: verdicts, tables, comparisons, local alignment and notes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple

from amif_lightning.reports.analysis.groups import AnswerGroup, AnyGroup, SearchGroup, subset_name
from amif_lightning.reports.analysis.statistics import DRAWS
from amif_lightning.reports.records.answering import KnowledgeAverages, ResultRecord
from amif_lightning.reports.records.retrieval import JUDGED, MEASURES
from amif_lightning.reports.records.run import OVERALL
from amif_lightning.reports.render import numbers
from amif_lightning.reports.render.answer_metrics import metrics_table
from amif_lightning.reports.render.comparisons import compare
from amif_lightning.reports.render.local_alignment import local_sentences, local_tables
from amif_lightning.reports.render.markdown import Columns, Table, build, bullets, markdown
from amif_lightning.reports.render.numbers import compact, over_seeds, percent, spread
from amif_lightning.reports.render.run_info import data_columns, machines, notes, time_per_seed
from amif_lightning.reports.render.verdicts import judge, verdict


def report(
    answers: Sequence[AnswerGroup],
    searches: Sequence[SearchGroup] = (),
    baselines: Sequence[str] = (),
) -> str:
    """Render the report, without published numbers, as Markdown; a verdict per group comes first.

    ``answers`` are configurations that answered, ``searches`` those that searched. Without
    ``baselines`` see `compare`.
    """
    groups: list[AnyGroup] = [*answers, *searches]
    parts = ["\n\n".join(map(verdict, groups))]
    if answers:
        parts += answer_table(answers).parts + metrics_table(answers).parts
        parts += knowledge_table(answers).parts
        parts += compare(answers, baselines).parts
    if searches:
        parts += search_table(searches).parts + compare(searches, baselines).parts
        parts += [part for table in local_tables(searches) for part in table.parts]
        if sentences := local_sentences(searches, baselines):
            parts += ["## Benefit of local alignment", *bullets(sentences)]
    noted = [
        f"{group.label}, {group.key.experiment}: {text}"
        for group in groups
        for text in notes(group)
    ]
    return "\n\n".join([*parts, "## Notes", *bullets(noted)]) + "\n"


def summary(groups: Iterable[AnyGroup]) -> str:
    """Render a Markdown table with one row per configuration.

    For retrieval, the baseline is chance and the control is the best constant ranking.
    """
    columns: Columns[AnyGroup] = (
        ("data", lambda group: f"{group.key.dataset}, {group.key.split}"),
        ("experiment", lambda group: group.name),
        ("score %", lambda group: f"{group.first.MAIN} {level_of(group, group.first.MAIN)}"),
        ("95 % interval", interval_of),
        ("baseline %", lambda group: level_of(group, "baseline")),
        ("control %", lambda group: level_of(group, "control")),
        ("seeds", lambda group: str(len(group.runs))),
        ("verdict", lambda group: judge(group)[0].partition(", because")[0]),
    )
    table = build("Summary", columns, groups, "")
    return markdown(table.header, table.rows) + "\n"


# ---- answers ----------------------------------------------------------------------------------


class _Row(NamedTuple):
    group: AnswerGroup
    subset: str = OVERALL

    @property
    def enough(self) -> bool:
        return self.group.count(self.subset) >= numbers.MIN_FOR_PERCENT

    def mean(self) -> str:
        return _mean(self.group, self.subset) if self.enough else numbers.NONE

    def interval(self, measure: str | None = None) -> str:
        span = self.group.interval(self.subset, measure) if self.enough else None
        return numbers.interval(span)

    def overall(self, text: Callable[[list[ResultRecord]], str]) -> str:
        """Text that is the same for all subsets; only in one row of a configuration."""
        return text(self.group.records) if self.subset == OVERALL else ""

    def level(self, measure: str) -> str:
        """A level that is the same for all seeds."""
        found = self.group.right(self.subset, measure)[:1]
        return numbers.score(found, self.group.count(self.subset)) if found else numbers.NONE


BLANK = "blank images %"
_NAMES: Columns[_Row] = data_columns(lambda row: row.group)
_DATA: Columns[_Row] = (
    *_NAMES,
    ("protocol", lambda row: row.group.first.protocol_label),
    ("questions", lambda row: subset_name(row.subset)),
)
_SEEDS: Columns[_Row] = (("seeds", lambda row: str(len(row.group.runs))),)
_ANSWERS: Columns[_Row] = (
    *_DATA,
    ("accuracy % (± std over seeds)", lambda row: row.mean()),
    ("95 % interval", lambda row: row.interval()),
    (
        "right of asked, per seed",
        lambda row: numbers.share_of(row.group.right(row.subset), row.group.count(row.subset)),
    ),
    ("ceiling %", lambda row: row.level("ceiling")),
    ("question-only baseline %", lambda row: row.level("baseline")),
    ("same-image copy %", lambda row: row.level("same_image_copy")),
    ("shuffled images %", lambda row: _control(row, "control")),
    (BLANK, lambda row: _control(row, "blank")),
    *_SEEDS,
    ("test runs", lambda row: compact(r.test_runs for r in row.group.records)),
    ("hardware", lambda row: row.overall(machines)),
    ("time per seed", lambda row: row.overall(time_per_seed)),
)
_BLANK = "Blank images: the same weights with a black image for every question. "
ANSWERS_LEGEND = (
    "Accuracy is rounded once from whole counts; fewer than "
    f"{numbers.MIN_FOR_PERCENT} questions are printed as counts only. "
    f"Interval: Wilson for one seed, bootstrap over images ({DRAWS} draws, fixed seed) for the "
    "mean of several; it does not include the spread between seeds, which is the ± after the mean. "
    "Ceiling: questions whose answer is among the candidates. "
    "Question-only baseline and same-image copy do not use the pixels. "
    "Shuffled images: the same weights with the images permuted among the questions. "
    f"{_BLANK}"
    "Test runs: how often a test of this split was started in the run folder."
)


def answer_table(groups: Iterable[AnswerGroup], *, overall: bool = False) -> Table:
    """Tabulate answers: one row per configuration and subset, or per configuration.

    Older records lack blank images; the column is left out if all do.
    """
    those = list(groups)
    rows = [
        _Row(group, subset)
        for group in those
        for subset in ([OVERALL] if overall else group.subsets)
    ]
    table = build("Results", _ANSWERS, rows, ANSWERS_LEGEND)
    blank = any(record.blank for group in those for record in group.records)
    return table if blank else table.without({BLANK}, legend=ANSWERS_LEGEND.replace(_BLANK, ""))


def _mean(group: AnyGroup, subset: str = OVERALL, measure: str | None = None) -> str:
    return f"{percent(group.mean(subset, measure))}{spread(group.deviation(subset, measure))}"


def _control(row: _Row, measure: str) -> str:
    right = row.group.right(row.subset, measure)
    if right:
        return numbers.score(right, row.group.count(row.subset))
    done = sum(record.right(measure, OVERALL) is not None for record in row.group.records)
    return f"only {done} of {len(row.group.runs)} seeds" if done else "not run"


# ---- attention on the vocabulary --------------------------------------------------------------


class _Reading(_Row):
    @property
    def averages(self) -> list[KnowledgeAverages]:
        return [r.knowledge[self.subset] for r in self.group.records if r.knowledge]

    @property
    def enough(self) -> bool:
        return self.averages[0].known >= numbers.MIN_FOR_PERCENT

    def share(self, name: str) -> str:
        if not self.enough:
            return numbers.NONE
        return over_seeds((getattr(one, name) for one in self.averages), 1, scale=100)


_READ: Columns[_Reading] = (
    *_DATA,
    (
        "answers with an entry",
        lambda row: f"{row.averages[0].known} of {row.averages[0].questions}",
    ),
    ("attention on the answer % (± std over seeds)", lambda row: row.share("mass")),
    ("95 % interval", lambda row: row.interval("mass")),
    ("even share %", lambda row: row.share("even")),
    ("top entry in the answer %", lambda row: row.share("top")),
    ("effective entries", lambda row: over_seeds((one.effective for one in row.averages), 1)),
    ("gate", lambda row: over_seeds((one.gate for one in row.averages), 2)),
    *_SEEDS,
)
_READ_LEGEND = (
    "Attention of the question on the vocabulary, averaged over heads. Attention on the answer: "
    "the sum over the entries that are words of the answer, over the questions whose answer has an "
    "entry; the interval of the mean over seeds is a bootstrap over images "
    f"({DRAWS} draws, fixed seed). Even share: the same for uniform attention. "
    "Effective entries: exp of the entropy, 1 where all attention is on one entry. Gate: mean "
    "openness; 0 keeps a token and 1 replaces it by the vocabulary's values; 1 without a gate. A "
    "network may select the right entries without answering better: compare the accuracies."
)


def knowledge_table(groups: Iterable[AnswerGroup]) -> Table:
    """Tabulate attention on the vocabulary: a row per subset of each configuration that has one."""
    rows = [
        _Reading(group, subset)
        for group in groups
        if all(record.knowledge for record in group.records)
        for subset in group.subsets
    ]
    return build("Attention on the answer vocabulary", _READ, rows, _READ_LEGEND)


# ---- searches ---------------------------------------------------------------------------------

SEARCHES_LEGEND = (
    "Means over both directions (report from image, image from report) and seeds ± standard "
    "deviation over seeds, with the 95 % interval of the mean over seeds: bootstrap over groups of "
    f"studies ({DRAWS} draws, fixed seed) with a fixed set of candidates; it does not include the "
    "spread between seeds. "
    "Precision@k: share of relevant studies among the k nearest; recall@k: whether the study "
    "itself is among them. Chance: the average of a random order. Same list: the k most broadly "
    "relevant studies for every query, a list that uses no image or report. Best possible: the "
    "highest precision of any order; many studies have fewer than k relevant ones. "
    "Zero-shot: studies whose class was found by prompts. Teacher KL: divergence of the model's "
    "image-text distribution over the split from the teacher's, mean ± std, in nats; the values of "
    "different teachers (in brackets) cannot be compared. "
    "Test runs: how often a test of this split was started in the run folder."
)


def search_table(groups: Sequence[SearchGroup]) -> Table:
    """Tabulate retrieval: one row per configuration."""
    ks = sorted({k for group in groups for k in group.first.mean.ks})
    scores = [f"{measure}@{k}" for measure in MEASURES for k in ks]
    columns: Columns[SearchGroup] = (
        *data_columns(lambda group: group),
        ("studies", lambda group: str(group.count())),
        *((f"{score} %", lambda group, score=score: _score(group, score)) for score in scores),
        ("chance %", _chance),
        (
            f"same list for every query, precision@{JUDGED} %",
            lambda group: level_of(group, "control"),
        ),
        (f"best possible precision@{JUDGED} %", lambda group: level_of(group, "ceiling")),
        ("zero-shot", _zero_shot),
        ("teacher KL, nats", _divergence),
        ("seeds", lambda group: str(len(group.runs))),
        ("test runs", lambda group: compact(r.test_runs for r in group.records)),
        ("hardware", lambda group: machines(group.records)),
        ("time per seed", lambda group: time_per_seed(group.records)),
    )
    return build("Image-text retrieval", columns, groups, SEARCHES_LEGEND)


def _score(group: SearchGroup, measure: str) -> str:
    if group.count() < numbers.MIN_FOR_PERCENT or not group.values(OVERALL, measure):
        return numbers.NONE
    span = group.interval(OVERALL, measure)
    between = "" if span is None else f" ({numbers.interval(span)})"
    return f"{_mean(group, OVERALL, measure)}{between}"


def interval_of(group: AnyGroup) -> str:
    """Return the interval of the score, or a dash for too few cases."""
    enough = group.count() >= numbers.MIN_FOR_PERCENT
    return numbers.interval(group.interval() if enough else None)


def level_of(group: AnyGroup, measure: str) -> str:
    """Return a mean over seeds in percent, or a dash for too few cases."""
    level = group.level(measure) if group.count() >= numbers.MIN_FOR_PERCENT else None
    return numbers.NONE if level is None else percent(level)


def _chance(group: SearchGroup) -> str:
    if group.count() < numbers.MIN_FOR_PERCENT:
        return numbers.NONE
    chance = group.first.chance
    recalls = (f"recall@{k} {percent(share)}" for k, share in chance.recall.items())
    return ", ".join([f"precision {percent(chance.precision[JUDGED])}", *recalls])


def _zero_shot(group: SearchGroup) -> str:
    found = [r.zero_shot.correct for r in group.records if r.zero_shot is not None]
    return numbers.score(found, group.count()) if found else numbers.NONE


def _divergence(group: SearchGroup) -> str:
    options = [data_options(record.config).get("teacher") for record in group.records]
    named = ", ".join(str(teacher) for teacher in dict.fromkeys(options) if teacher)
    mean = over_seeds((record.teacher_kl for record in group.records), 3)
    return f"{mean} ({named})" if named and mean != numbers.NONE else mean


def data_options(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the data options of a record's configuration, from the command line or from Python."""
    data = config.get("data")
    options = data.get("init_args", data) if isinstance(data, Mapping) else None
    return options if isinstance(options, Mapping) else {}


# ---- numbers of other methods -------------------------------------------------------------------

DATASETS = ("VQARAD", "SLAKE", "PathVQA", "VQAMed2019")
WARNING = (
    "These numbers were read in the named sources and not measured here. Most of these runs train "
    "on rows or choose among answers that come from the test set. They cannot be compared with any "
    "of the `clean` rows above, and with `literature` rows only as far as their protocol is known. "
    "The open/closed rule is that of the source."
)


def published_table() -> Table:
    """Tabulate ``published.yaml`` by data set; a dash if the source gives no percentage."""
    import yaml  # only this table needs it

    text = resources.files(__package__).joinpath("published.yaml").read_text(encoding="utf-8")
    data: dict[str, Any] = yaml.safe_load(text)
    rows = [
        (
            row["dataset"],
            row["model"],
            *(f"{row[name]:.1f}" if name in row else "-" for name in ("open", "closed", "overall")),
            data["protocols"][row["protocol"]],
            row.get("note", ""),
            "; ".join(data["sources"][letter] for letter in row["source"]) or "-",
        )
        for row in sorted(data["results"], key=lambda row: DATASETS.index(row["dataset"]))
    ]
    header = ("data", "model", "open", "closed", "overall", "protocol", "note", "source")
    return Table("Published numbers", header, tuple(rows), WARNING)

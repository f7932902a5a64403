"""One plain sentence per configuration: did it use the images, judged by intervals."""

from __future__ import annotations

from fractions import Fraction

from amif_lightning.reports.analysis.groups import Difference, Group
from amif_lightning.reports.analysis.retrieval_groups import RetrievalGroup
from amif_lightning.reports.analysis.seeds import count_of
from amif_lightning.reports.records.retrieval import JUDGED
from amif_lightning.reports.records.run import OVERALL
from amif_lightning.reports.render import numbers

BASELINE = "the question-only baseline"
CONTROL = "the same network with shuffled images"


def verdict(group: Group) -> str:
    """What the records say about the use of the images.

    The images count as used if the whole 95 % interval of the difference lies above zero twice:
    against the question-only baseline and against the same network with shuffled images.

    Args:
        group: The runs of one configuration.

    Returns:
        One sentence that starts with the data set, the protocol, the split and the experiment.
    """
    return f"{group.label}, {group.key.experiment}, {count_of(group.runs)}: {statement(group)}"


def statement(group: Group) -> str:
    """The verdict without the name of the configuration: the claim, a colon, the numbers."""
    head = "UNTRAINED WEIGHTS; " if group.first.untrained else ""
    count = group.count()
    if count < numbers.LEAST_FOR_PERCENT:
        return (
            f"{head}no verdict: {numbers.share_of(group.correct(), count)} questions are right, "
            f"and fewer than {numbers.LEAST_FOR_PERCENT} questions decide nothing."
        )
    baseline, control = group.above_baseline, group.above_control
    accuracy = f"accuracy {numbers.percent(group.accuracy())} % {_own_interval(group)}"
    if control is None:
        done = f"only {group.controlled} of {len(group.runs)} seeds have the"
        which = f"{done if group.controlled else 'no'} shuffled-image control"
        claim = f"whether the images were used is not shown, for {which}"
        claim += "" if group.controlled else " was run"
        return f"{head}{claim}: {accuracy} is {_side(baseline, BASELINE, _baseline(group))}."
    above = _side(baseline, BASELINE, _baseline(group))
    sides = f"{above} and {_side(control, CONTROL, _shuffled(group))}"
    return f"{head}{_claim(group, baseline, control)}: {accuracy} is {sides}."


def _claim(group: Group, baseline: Difference, control: Difference) -> str:
    if baseline.interval is None or control.interval is None:
        why = f"{group.missing[0]} is missing" if group.missing else "the images are too few"
        return f"no verdict, for {why}"
    if _above(baseline) and _above(control):
        return "evidence that the images were used"
    if _above(control):
        return "the images change the answers, but do not lift them above not looking"
    return "no evidence that the images were used"


def _above(difference: Difference) -> bool:
    return difference.interval is not None and difference.interval.low > 0


def _side(difference: Difference, what: str, level: str) -> str:
    """Where the accuracy stands to ``what``, with the difference and its interval."""
    span = difference.interval
    gap = f"{numbers.percent(abs(difference.value))} points"
    if span is None:
        direction = "below" if difference.value < 0 else "above"
        return f"{gap} (no interval) {direction} {what} ({level})"
    written = f"95 % interval {numbers.points_interval(span)}"
    if not difference.paired:
        written += ", the baseline taken as fixed"
    if span.low > 0:
        return f"{gap} ({written}) above {what} ({level})"
    if span.high < 0:
        return f"{gap} ({written}) BELOW {what} ({level})"
    return f"not above {what} ({level}; difference {numbers.points(difference.value)}, {written})"


def _own_interval(group: Group) -> str:
    span = group.interval()
    return "(no interval)" if span is None else f"(95 % interval {numbers.interval(span)})"


def _baseline(group: Group) -> str:
    correct = group.first.baselines.question_only[OVERALL].correct
    return f"{numbers.percent(Fraction(correct, group.count()))} %"


def _shuffled(group: Group) -> str:
    correct = group.control() or []
    return f"{numbers.percent(Fraction(sum(correct), len(correct) * group.count()))} %"


def search_verdict(group: RetrievalGroup) -> str:
    """What the records say about the alignment of images and reports.

    They count as aligned if the whole 95 % interval of precision, averaged over both directions,
    minus that of a random order lies above zero, and the whole interval of precision above that of
    the best list that is the same for every query, which a search reaches without looking at one.

    Args:
        group: The runs of one configuration.

    Returns:
        One sentence that starts with the data set, the split and the experiment.
    """
    where = f"{group.label}, {group.key.experiment}, {count_of(group.runs)}"
    return f"{where}: {search_statement(group)}"


def search_statement(group: RetrievalGroup) -> str:
    """The verdict without the name of the configuration: the claim, a colon, the numbers."""
    head = "UNTRAINED WEIGHTS; " if group.first.untrained else ""
    count = group.first.studies
    if count < numbers.LEAST_FOR_PERCENT:
        return (
            f"{head}no verdict: {count} studies were searched, and fewer than "
            f"{numbers.LEAST_FOR_PERCENT} decide nothing."
        )
    above, own = group.above_chance, group.interval()
    written = f"(95 % interval {numbers.interval(own)})" if own else "(no interval)"
    score = f"precision@{JUDGED} {numbers.percent(group.mean())} % {written}"
    chance = f"chance ({numbers.percent(group.chance())} %"
    gap = f"{numbers.percent(abs(above.value))} points"
    if above.interval is None:
        why = f"{group.missing[0]} is missing" if group.missing else "the groups are too few"
        side = "below" if above.value < 0 else "above"
        return f"{head}no verdict, for {why}: {score} is {gap} {side} {chance})."
    span = f"95 % interval {numbers.points_interval(above.interval)}"
    constant = group.constant
    assert constant is not None  # the interval was drawn from the same lines
    assert own is not None
    same = f"the best list that is the same for every query ({numbers.percent(constant)} %)"
    if above.interval.low > 0 and own.low > constant:
        claim = "evidence that image and text were aligned"
        more = f"{numbers.percent(group.mean() - constant)} points above {same}"
        return f"{head}{claim}: {score} is {gap} ({span}) above {chance}) and {more}."
    claim = "no evidence that image and text were aligned"
    if above.interval.low > 0:
        return f"{head}{claim}: {score} is {gap} ({span}) above {chance}), but not above {same}."
    if above.interval.high < 0:
        return f"{head}{claim}: {score} is {gap} ({span}) BELOW {chance})."
    return (
        f"{head}{claim}: {score} is not above {chance}; difference "
        f"{numbers.points(above.value)}, {span})."
    )

"""One plain sentence per configuration: did it use the pictures, judged by intervals."""

from __future__ import annotations

from fractions import Fraction

from amif_lightning.reports import numbers
from amif_lightning.reports.groups import Difference, Group
from amif_lightning.reports.record import OVERALL
from amif_lightning.reports.seeds import count_of

FLOOR = "the question-only floor"
CONTROL = "the same network with shuffled images"


def verdict(group: Group) -> str:
    """What the records say about the use of the pictures.

    The pictures count as used if the whole 95 % interval of the difference lies above zero twice:
    against the question-only floor and against the same network with shuffled images.

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
    floor, control = group.above_floor, group.above_control
    accuracy = f"accuracy {numbers.percent(group.accuracy())} % {_own_interval(group)}"
    if control is None:
        done = f"only {group.controlled} of {len(group.runs)} seeds have the"
        which = f"{done if group.controlled else 'no'} shuffled-image control"
        claim = f"whether the pictures were used is not shown, for {which}"
        claim += "" if group.controlled else " was run"
        return f"{head}{claim}: {accuracy} is {_side(floor, FLOOR, _floor(group))}."
    sides = f"{_side(floor, FLOOR, _floor(group))} and {_side(control, CONTROL, _shuffled(group))}"
    return f"{head}{_claim(group, floor, control)}: {accuracy} is {sides}."


def _claim(group: Group, floor: Difference, control: Difference) -> str:
    if floor.interval is None or control.interval is None:
        why = f"{group.missing[0]} is missing" if group.missing else "the images are too few"
        return f"no verdict, for {why}"
    if _above(floor) and _above(control):
        return "evidence that the pictures were used"
    if _above(control):
        return "the pictures change the answers, but do not lift them above not looking"
    return "no evidence that the pictures were used"


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
        written += ", the floor taken as fixed"
    if span.low > 0:
        return f"{gap} ({written}) above {what} ({level})"
    if span.high < 0:
        return f"{gap} ({written}) BELOW {what} ({level})"
    return f"not above {what} ({level}; difference {numbers.points(difference.value)}, {written})"


def _own_interval(group: Group) -> str:
    span = group.interval()
    return "(no interval)" if span is None else f"(95 % interval {numbers.interval(span)})"


def _floor(group: Group) -> str:
    correct = group.first.floors.question_only[OVERALL].correct
    return f"{numbers.percent(Fraction(correct, group.count()))} %"


def _shuffled(group: Group) -> str:
    correct = group.control() or []
    return f"{numbers.percent(Fraction(sum(correct), len(correct) * group.count()))} %"

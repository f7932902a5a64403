"""One plain sentence per configuration, judged by intervals: did it use images, did it align."""

from __future__ import annotations

from amif_lightning.reports.analysis.groups import AnswerGroup, AnyGroup, SearchGroup
from amif_lightning.reports.analysis.statistics import Estimate
from amif_lightning.reports.render import numbers


def verdict(group: AnyGroup) -> str:
    """The statement, after data set, protocol, split, experiment and number of seeds."""
    where = f"{group.label}, {group.key.experiment}, {numbers.count_of(group.runs)}"
    return f"{where}: {statement(group)}"


def statement(group: AnyGroup) -> str:
    """What the records say of a configuration: the claim, a colon, the numbers.

    The images count as used if the whole 95 % interval of the difference lies above zero twice:
    against the question-only baseline and against the same network with shuffled images.

    Images and reports count as aligned if the whole interval of precision, averaged over both
    directions, minus that of a random order lies above zero, and the whole interval of precision
    above that of the best list that is the same for every query, which takes no look at one.
    """
    head = "UNTRAINED WEIGHTS; " if group.first.untrained else ""
    count, least = group.count(), numbers.LEAST_FOR_PERCENT
    if group.first.kind == "retrieval":
        if count < least:
            searched = f"{count} studies were searched, and fewer than {least} decide nothing"
            return f"{head}no verdict: {searched}."
        return head + _searched(group)
    if count < least:
        right = f"{numbers.share_of(group.right(), count)} questions are right"
        return f"{head}no verdict: {right}, and fewer than {least} questions decide nothing."
    return head + _answered(group)


def _answered(group: AnswerGroup) -> str:
    baseline, control = group.above("baseline"), group.above("control")
    assert baseline is not None  # every record has one
    above = _side(group, baseline, "baseline", "the question-only baseline")
    if control is None:
        done = controlled(group)
        which = f"only {done} of {len(group.runs)} seeds have the" if done else "no"
        run = "" if done else " was run"
        claim = f"whether the images were used is not shown, for {which} shuffled-image control"
        return f"{claim}{run}: {_own(group)} is {above}."
    if baseline.span is None or control.span is None:
        claim = f"no verdict, for {_why(group, 'images')}"
    elif baseline.span.low > 0 and control.span.low > 0:
        claim = "evidence that the images were used"
    elif control.span.low > 0:
        claim = "the images change the answers, but do not lift them above not looking"
    else:
        claim = "no evidence that the images were used"
    shuffled = _side(group, control, "control", "the same network with shuffled images")
    return f"{claim}: {_own(group)} is {above} and {shuffled}."


def controlled(group: AnswerGroup) -> int:
    """Number of seeds with the shuffled-image control."""
    return sum(record.control is not None for record in group.records)


def _searched(group: SearchGroup) -> str:
    above, own, constant = group.above("baseline"), group.interval(), group.level("control")
    assert above is not None  # every record has one
    if above.span is None or own is None or constant is None:
        side = f"{'below' if above.value < 0 else 'above'} chance ({_level(group, 'baseline')})"
        gap = f"{numbers.percent(abs(above.value))} points"
        return f"no verdict, for {_why(group, 'groups')}: {_own(group)} is {gap} {side}."
    score = f"{_own(group)} is {_side(group, above, 'baseline', 'chance')}"
    same = f"the best list that is the same for every query ({numbers.percent(constant)} %)"
    if above.span.low > 0 and own.low > constant:
        more = f"{numbers.percent(group.mean() - constant)} points above {same}"
        return f"evidence that image and text were aligned: {score} and {more}."
    more = f", but not above {same}" if above.span.low > 0 else ""
    return f"no evidence that image and text were aligned: {score}{more}."


def _why(group: AnyGroup, clusters: str) -> str:
    return f"{group.missing[0]} is missing" if group.missing else f"the {clusters} are too few"


def _level(group: AnyGroup, measure: str) -> str:
    return f"{numbers.percent(group.level(measure) or 0.0)} %"


def _own(group: AnyGroup) -> str:
    span = group.interval()
    written = "no interval" if span is None else f"95 % interval {numbers.interval(span)}"
    return f"{group.first.MAIN} {numbers.percent(group.mean())} % ({written})"


def _side(group: AnyGroup, difference: Estimate, measure: str, what: str) -> str:
    """Where the score stands to another level, with the difference and its interval."""
    span = difference.span
    gap = f"{numbers.percent(abs(difference.value))} points"
    level = _level(group, measure)
    if span is None:
        direction = "below" if difference.value < 0 else "above"
        return f"{gap} (no interval) {direction} {what} ({level})"
    written = f"95 % interval {numbers.points_interval(span)}"
    if not difference.paired:
        written += ", the baseline taken as fixed"
    if span.excludes_zero:
        return f"{gap} ({written}) {'above' if span.low > 0 else 'BELOW'} {what} ({level})"
    return f"not above {what} ({level}; difference {numbers.points(difference.value)}, {written})"

"""One plain sentence per pre-training configuration: were image and text aligned?"""

from __future__ import annotations

from amif_lightning.reports import numbers
from amif_lightning.reports.retrieval_groups import RetrievalGroup
from amif_lightning.reports.seeds import count_of
from amif_lightning.reports.study_lines import JUDGED


def search_verdict(group: RetrievalGroup) -> str:
    """What the records say about the alignment of pictures and reports.

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

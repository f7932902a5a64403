"""The whole page: what every section says, filled into the templates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path

from amif_lightning import __version__
from amif_lightning.reports.analysis.groups import AnswerGroup, AnyGroup, SearchGroup
from amif_lightning.reports.page.provenance import source, unfinished
from amif_lightning.reports.page.sections import Section, Table, answer_sections, search_sections
from amif_lightning.reports.render.published import HEADER, WARNING, published_rows

# A page without network and scripts: the browser itself refuses both.
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'"
)


@dataclass(frozen=True)
class Options:
    """What the page is to hold.

    Attributes:
        baselines: Experiments that all others are compared with; none: all pairs.
        images: Whether images of the data are shown.
        published: Whether the published numbers of peers are appended.
    """

    baselines: tuple[str, ...] = ()
    images: bool = True
    published: bool = False


def page(
    folder: Path, groups: Sequence[AnswerGroup], searches: Sequence[SearchGroup], options: Options
) -> str:
    """The report as HTML.

    Args:
        folder: The folder of the runs, for the title and for runs that have no result yet.
        groups: Configurations that answered.
        searches: Configurations that searched; at least one of either kind.
        options: What the page is to hold.

    Returns:
        A document that needs no other file. Everything in it that comes from records is escaped.
    """
    # Templates are wanted for this output only.
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup, escape

    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Long names may be broken after their underscores, numbers not before their sign.
    environment.filters["name"] = lambda text: escape(text).replace("_", Markup("_<wbr>"))
    environment.filters["prose"] = lambda text: str(text).replace(" %", "\u00a0%")
    style = (resources.files(__package__) / "style.css").read_text(encoding="utf-8")
    sections = [
        *answer_sections(groups, options.baselines, images=options.images),
        *search_sections(searches, options.baselines, images=options.images),
    ]
    caption = "Accuracies in percent, as the sources print them"
    peers = Table(caption, HEADER, tuple(published_rows()))
    both: list[AnyGroup] = [*groups, *searches]
    return environment.get_template("page.html.jinja").render(
        title=f"Report on {folder.resolve().name}",
        version=__version__,
        policy=POLICY,
        style=Markup(style),  # our own file
        literature=list(dict.fromkeys(s.literature for s in sections if s.literature)),
        sections=sections,
        summary=_summary(both, sections),
        published=peers if options.published else None,
        published_warning=WARNING.replace("`", ""),
        sources=[source(group) for group in both],
        unfinished=unfinished(folder),
    )


def _summary(groups: Sequence[AnyGroup], sections: Sequence[Section]) -> str:
    runs = sum(len(group.runs) for group in groups)
    newest = max(
        datetime.fromisoformat(record.finished) for group in groups for record in group.records
    )
    return (
        f"{_some(len(groups), 'configuration')}, {_some(runs, 'run')}, "
        f"{_some(len(sections), 'section')}; the newest run finished {newest:%Y-%m-%d %H:%M} (UTC)."
    )


def _some(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")

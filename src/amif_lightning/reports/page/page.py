"""The HTML page: all sections, filled into the templates."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from importlib import resources
from pathlib import Path

from amif_lightning import __version__
from amif_lightning.reports.analysis.groups import AnswerGroup, AnyGroup, SearchGroup
from amif_lightning.reports.page.sections import page_sections
from amif_lightning.reports.render.published import published_table
from amif_lightning.reports.render.run_info import facts, notes

# The browser itself refuses network and scripts.
POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'"
)


def page(
    folder: Path,
    groups: Sequence[AnswerGroup],
    searches: Sequence[SearchGroup],
    baselines: Sequence[str] = (),
    *,
    images: bool = True,
    published: bool = False,
) -> str:
    """Render the report as one HTML document; all text from records is escaped.

    ``folder`` of the runs gives the title and the list of runs without a result. At least one
    group is given. Without ``baselines`` all pairs are compared.
    """
    # Only the page needs these.
    import yaml
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup, escape

    environment = Environment(
        loader=PackageLoader(__package__),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Long names may break after their underscores, numbers not before their sign.
    environment.filters["name"] = lambda text: escape(text).replace("_", Markup("_<wbr>"))
    environment.filters["prose"] = lambda text: str(text).replace(" %", "\u00a0%")
    style = (resources.files(__package__) / "style.css").read_text(encoding="utf-8")
    sections = [
        *page_sections(groups, baselines, images=images),
        *page_sections(searches, baselines, images=images),
    ]
    both: list[AnyGroup] = [*groups, *searches]
    sources = [
        {
            "name": group.name,
            "where": group.label,
            "facts": facts(group),
            "remarks": list(notes(group)),
            "config": yaml.safe_dump(group.first.config, sort_keys=False, allow_unicode=True),
            "config_seed": group.first.seed,
        }
        for group in both
    ]
    finished = [datetime.fromisoformat(r.finished) for group in both for r in group.records]
    counts = f"configurations: {len(both)}, runs: {len(finished)}, sections: {len(sections)}"
    newest = f"the newest run finished {max(finished):%Y-%m-%d %H:%M} (UTC)"
    return environment.get_template("page.html.jinja").render(
        title=f"Report on {folder.resolve().name}",
        version=__version__,
        policy=POLICY,
        style=Markup(style),  # not escaped: from this package
        literature=list(dict.fromkeys(s.literature for s in sections if s.literature)),
        sections=sections,
        summary=f"{counts.capitalize()}; {newest}.",
        published=published_table() if published else None,
        sources=sources,
        unfinished=unfinished(folder),
    )


def unfinished(folder: Path) -> list[Path]:
    """List the run folders below ``folder`` with a configuration and no result."""
    return sorted(
        file.parent
        for file in folder.rglob("config.yaml")
        if not any(file.parent.glob("result-*.json"))
    )

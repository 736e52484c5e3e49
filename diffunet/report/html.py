"""Pages of facts as HTML: one file, without anything from elsewhere.

Every text goes through Jinja2's automatic escaping. Pictures are data URIs of this package's own.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

from diffunet import __version__
from diffunet.report.case_facts import CaseFacts, Volumes
from diffunet.report.case_page import CasePage
from diffunet.report.charts import counted, draw, number
from diffunet.report.dataset_page import DatasetPage
from diffunet.report.model_page import ModelPage
from diffunet.report.pictures import png_uri
from diffunet.report.verdicts import with_interval

Page = DatasetPage | ModelPage | CasePage

_TEMPLATES = {DatasetPage: "dataset.html", ModelPage: "model.html", CasePage: "cases.html"}


def to_html(page: Page, *, made: str) -> str:
    """Return a page as HTML.

    Args:
        made: when, in words.
    """
    template = _environment().get_template(_TEMPLATES[type(page)])
    return template.render(page=page, made=made, version=__version__)


@cache
def _environment() -> Any:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("diffunet.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=number, counted=counted, interval=with_interval, duration=duration
    )
    environment.globals.update(
        draw=draw,
        png_uri=png_uri,
        strip=strip,
        has_volumes=_has_volumes,
        any_samples=_any_samples,
        presence_labels=_presence_labels,
    )
    return environment


def duration(seconds: float | None) -> str:
    """Return seconds as people say them."""
    if seconds is None:
        return "–"
    if seconds < 120:
        return f"{number(seconds, 2)} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def strip(volumes: Volumes) -> dict[str, Any] | None:
    """Return where a label's volumes stand on a line from 0 to the largest, in percent."""
    values = [*volumes.samples, *volumes.raters]
    values += [value for value in (volumes.lower, volumes.upper, volumes.mean) if value is not None]
    largest = max(values, default=0.0)
    if largest <= 0:
        return None

    def place(value: float) -> float:
        return round(100 * value / largest, 2)

    return {
        "largest": largest,
        "samples": _places(volumes.samples, place),
        "raters": _places(volumes.raters, place),
        "lower": None if volumes.lower is None else place(volumes.lower),
        "upper": None if volumes.upper is None else place(volumes.upper),
        "mean": None if volumes.mean is None else place(volumes.mean),
    }


def _places(values: Sequence[float], place: Any) -> list[float]:
    return [place(value) for value in values]


def _any_samples(cases: Sequence[CaseFacts]) -> bool:
    return any(volumes.samples for case in cases for volumes in case.volumes)


def _presence_labels(cases: Sequence[CaseFacts]) -> list[str]:
    """Return the image-level labels of any case, in their order."""
    return list(dict.fromkeys(each.label for case in cases for each in case.presences))


def _has_volumes(cases: Sequence[CaseFacts]) -> bool:
    return any(case.volumes for case in cases)

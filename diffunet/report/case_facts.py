"""What is known of one predicted case: scores, volumes of its samples, files, pictures."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from diffunet.data.prediction_records import PredictionRecord
from diffunet.report.case_arrays import CaseFiles
from diffunet.report.case_inputs import CaseInputs
from diffunet.report.case_views import CaseView
from diffunet.report.evaluation import Evaluation
from diffunet.report.json_facts import at, list_at, mapping_at, number_at, numbers_at


@dataclass(frozen=True, kw_only=True)
class Volumes:
    """What samples and raters measure of a label in one case."""

    label: str
    unit: str
    mean: float | None
    lower: float | None = None
    upper: float | None = None
    samples: tuple[float, ...] = ()
    raters: tuple[float, ...] = ()

    @property
    def spread(self) -> float | None:
        """Width of the 5 to 95 % interval over the mean; 0 where nothing is ever marked."""
        if self.lower is None or self.upper is None or self.mean is None:
            return None
        return (self.upper - self.lower) / self.mean if self.mean > 0 else 0.0

    @property
    def disagreement(self) -> float | None:
        """How far two samples differ if the smaller one lies in the larger; at least so far."""
        volumes = np.array(self.samples)
        if len(volumes) < 2:
            return None
        smaller, larger = (pick.outer(volumes, volumes) for pick in (np.minimum, np.maximum))
        alike = np.divide(smaller, larger, out=np.ones_like(larger), where=larger > 0)
        return float(np.sum(1 - alike) / (len(volumes) * (len(volumes) - 1)))

    @property
    def presence(self) -> float | None:
        """Share of the samples that mark anything."""
        return float(np.mean(np.array(self.samples) > 0)) if self.samples else None


@dataclass(frozen=True, kw_only=True)
class Presence:
    """Whether an image shows a label, of models of image-level labels."""

    label: str
    probability: float | None
    num_present: int
    num_images: int


def widest(volumes: Sequence[Volumes]) -> Volumes | None:
    """Return those of the label whose volume is least sure; None where nothing is known."""
    known = [each for each in volumes if each.spread is not None]
    return max(known, key=lambda each: each.spread or 0.0, default=None)


@dataclass(frozen=True, kw_only=True)
class CaseFacts:
    """A row of the table, and what is shown below it.

    Attributes:
        uncertainty: larger for cases that deserve a look; None where nothing is known.
        links: (text, address relative to the page).
        note: why there are no pictures; empty where there are.
    """

    name: str
    patient: str
    scores: Mapping[str, float | None]
    volumes: tuple[Volumes, ...]
    presences: tuple[Presence, ...]
    uncertainty: float | None
    seconds: float | None
    links: tuple[tuple[str, str], ...]
    view: CaseView | None = None
    note: str = ""


def facts_of_case(
    name: str,
    record: PredictionRecord | None,
    files: CaseFiles,
    inputs: CaseInputs,
    evaluation: Evaluation | None,
    *,
    page: Path,
) -> CaseFacts:
    """Return what the record and the scores of a case say.

    Args:
        record: None where the case was not predicted.
        page: where the page will lie; links are relative to it.
    """
    content = record.content if record is not None else {}
    scored = evaluation.by_case.get(name) if evaluation else None
    volumes = tuple(
        Volumes(
            label=label,
            unit=str(at(about, "unit") or "").replace("^2", "²").replace("^3", "³"),
            mean=number_at(about, "mean")
            if at(about, "mean") is not None
            else number_at(about, "value"),
            lower=number_at(about, "percentile_5"),
            upper=number_at(about, "percentile_95"),
            samples=numbers_at(about, "samples"),
        )
        for label, about in mapping_at(content, "volumes").items()
    )
    presences = tuple(
        Presence(
            label=label,
            probability=number_at(about, "case_probability"),
            num_present=sum(map(bool, list_at(about, "is_present"))),
            num_images=len(list_at(about, "is_present")),
        )
        for label, about in mapping_at(content, "labels").items()
    )
    return CaseFacts(
        name=name,
        patient=scored.patient if scored else "",
        scores=scored.scores if scored else {},
        volumes=volumes,
        presences=presences,
        uncertainty=_uncertainty(content, volumes, presences),
        seconds=number_at(content, "seconds"),
        links=tuple(_links(files, inputs, page=page)),
    )


def _uncertainty(
    content: Mapping[str, Any], volumes: Sequence[Volumes], presences: Sequence[Presence]
) -> float | None:
    """Return how far two samples differ, in [0, 1]; of image-level labels the doubt.

    Records of former versions do not say it, but their volumes say how far at least.
    """
    disagreements = mapping_at(content, "disagreement")
    known = [number_at(disagreements, label) for label in disagreements]
    if any(each is not None for each in known):
        return max(each for each in known if each is not None)
    at_least = [each.disagreement for each in volumes if each.disagreement is not None]
    if at_least:
        return max(at_least)
    doubts = [1 - abs(2 * p.probability - 1) for p in presences if p.probability is not None]
    return max(doubts) if doubts else None


def _links(files: CaseFiles, inputs: CaseInputs, *, page: Path) -> list[tuple[str, str]]:
    found = [("image", path) for path in inputs.images[:1]]
    found += [("mask", files.mask)] if files.mask else []
    found += [("uncertainty", files.uncertainty)] if files.uncertainty else []
    found += [(path.name, path) for path in (*files.probabilities, *files.saliencies.values())]
    found += [("samples", files.samples[0].path.parent)] if files.samples else []
    found += list(inputs.references.items())
    links = []
    for text, path in found:
        try:
            relative = os.path.relpath(path.resolve(), page.parent.resolve())
        except ValueError:  # another drive
            continue
        links.append((text, quote(relative.replace(os.sep, "/"))))
    return links


def sorted_cases(
    facts: Sequence[CaseFacts], evaluation: Evaluation | None
) -> tuple[list[CaseFacts], str]:
    """Return the worst cases first, without scores the most uncertain ones; and that in words."""
    if evaluation is not None:
        order = {case.case: index for index, case in enumerate(evaluation.worst_first())}
        facts = sorted(facts, key=lambda each: order.get(each.name, len(order)))
        return facts, f"worst first, by {evaluation.leading.title}"
    if any(each.uncertainty is not None for each in facts):
        facts = sorted(facts, key=lambda each: (-(each.uncertainty or 0.0), each.name))
        return facts, "most uncertain first"
    return list(facts), "by name"

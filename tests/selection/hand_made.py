"""Cross-validations whose masks a test chooses, so that their scores can be found by hand."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from diffunet.data.store.case import CaseProperties, IntensityNormalization
from diffunet.data.store.case_store import Manifest
from diffunet.data.store.shards import PackedArray, PackedCase, write_shard
from diffunet.evaluation.folder import evaluate_folders
from diffunet.evaluation.scored_files import ScoredFolders
from diffunet.evaluation.scores import ScoreOptions
from diffunet.geometry import Box
from diffunet.jsonio import write_json
from diffunet.labels import LabelScheme
from tests.inference.written_folders import label_map, write_predictions, write_references
from tests.training.folds import json_of, of_dataset, plans

NAME = "Dataset001_Small"
CONTENT = {
    "channel_names": {"0": "grey"},
    "labels": {"background": 0, "spot": 1},
    "numTraining": 6,
    "file_ending": ".png",
}

Masks = Mapping[str, Sequence[str]]
"""By case the masks of raters, or of samples."""


def write_dataset(root: Path, references: Masks, *, folds: Sequence[Sequence[str]]) -> None:
    """Write what is preprocessed: splits, plans and the label maps of all raters."""
    folder = root / "preprocessed" / NAME
    splits = [{"train": sorted(set(references) - set(val)), "val": list(val)} for val in folds]
    write_json(folder / "splits_final.json", splits)
    of_dataset(plans()).save(folder / "diffunet_plans.json")
    store = folder / "2d" / "labels"
    store.mkdir(parents=True)
    packed = {case: _packed(case, texts) for case, texts in references.items()}
    write_shard(store / "all.shard", packed)
    Manifest(source="test", cases=dict.fromkeys(packed, "all.shard")).save(store)


def write_model(
    root: Path,
    references: Masks,
    *,
    folds: Sequence[Sequence[str]],
    masks: Masks,
    method: str = "diffusion",
    plans_name: str = "diffunet_plans",
) -> Path:
    """Write a model whose folds have drawn the given masks of their validation cases."""
    model = root / "results" / NAME / f"{method}__{plans_name}__2d"
    has_raters = max(map(len, references.values())) > 1
    write_json(model / "dataset.json", {**CONTENT, "raters": has_raters})
    for number, cases in enumerate(folds):
        fold = model / f"fold_{number}"
        drawn = {case: masks[case] for case in cases}
        write_predictions(fold / "validation", drawn, method=method, content=CONTENT)
        plans(method=method).save(fold / "plans.resolved.json")
        known = write_references(
            root / "references" / model.name / fold.name, {case: references[case] for case in cases}
        )
        summary = evaluate_folders(
            ScoredFolders(
                reference=known,
                prediction=fold / "validation",
                labels=LabelScheme.from_dataset_json(CONTENT),
                file_ending=".png",
                has_raters=has_raters,
            ),
            num_processes=0,
            options=ScoreOptions(has_surface_scores=False, has_trivial_answers=False),
        )
        write_json(fold / "validation" / "summary.json", summary)
    return model


def _packed(case: str, texts: Sequence[str]) -> PackedCase:
    maps = np.stack([label_map(text) for text in texts])
    shape = maps.shape[1:]
    properties = CaseProperties(
        case=case,
        patient=case,
        raters=tuple(f"r{number:02}" for number in range(len(texts))),
        original_shape=shape,
        original_spacing_mm=(1.0, 1.0),
        transpose_forward=(0, 1),
        crop_box=Box((0, 0), shape),
        shape=shape,
        spacing_mm=(1.0, 1.0),
        normalization=(IntensityNormalization(),),
        is_normalized=False,
    )
    return PackedCase(
        source="test",
        properties=json_of(properties),
        arrays={"labels": PackedArray.pack(maps, is_picture=False)},
    )

"""Every kind of file that is read: how a whole one is made, and how the product reads it."""

import shutil
from functools import partial
from pathlib import Path

import fuzz_other_kinds
import mutations as change
import numpy as np
import torch
from fuzz_kind import Kind

from diffunet import api
from diffunet.arguments import dataset_content_of
from diffunet.data.batches.patches import PatchSampler
from diffunet.data.batches.places import PatchPlaces
from diffunet.data.image_io import (
    ImageGeometry,
    read_image,
    read_label_map,
    supported_file_endings,
    write_label_map,
)
from diffunet.data.prediction_records import record_path
from diffunet.data.raw.dataset import open_dataset
from diffunet.data.raw.dataset_state import DatasetState
from diffunet.data.raw.image_labels import read_image_labels
from diffunet.data.raw.input_cases import find_input_cases
from diffunet.data.raw.integrity import verify_dataset
from diffunet.data.store.case import CaseProperties, IntensityNormalization
from diffunet.data.store.case_store import CaseStore
from diffunet.data.store.store_writer import MadeCase, StoredCases, seal, write_group
from diffunet.data.synthetic import SceneFamily
from diffunet.data.synthetic_dataset import write_ambiguous_dataset
from diffunet.errors import DatasetError
from diffunet.geometry import Box
from diffunet.inference.model import TrainedModel, load_model
from diffunet.inference.output import OutputFolder
from diffunet.inference.place import RUN_FILE, check_run
from diffunet.jsonio import read_json
from diffunet.labels import LabelScheme
from diffunet.methods import METHODS
from diffunet.plans import Plans, ResolvedPlans
from diffunet.training.ema import ExponentialMovingAverage
from diffunet.training.fold_data import open_fold
from diffunet.training.metrics import append_record, keep_records_until
from diffunet.training.optim import build_optimizer
from diffunet.training.state import FINAL, LATEST, Origin, TrainingState
from diffunet.workspace import Workspace

DATASET = "Dataset001_Fuzz"
PREDICTED = "synthetic0006"
CPU = torch.device("cpu")
SETTINGS = {"seed": 0, "method": "diffusion"}
SMALL = (
    "network.channels=[8,8]",
    "network.strides=[[1,1],[2,2]]",
    "network.kernel_sizes=[[3,3],[3,3]]",
    "network.num_blocks=[1,1]",
    "network.num_decoder_blocks=[1,1]",
    "network.has_attention=[false,false]",
    "network.image_channels=[8,8]",
    "network.num_image_blocks=[1,1]",
    "training.num_iterations=1",
    "training.batch_size=2",
    "sampling.num_steps=1",
    "sampling.num_samples=2",
)


def build(root: Path) -> None:
    """Make one whole file of each kind below `root`."""
    workspace = workspace_of(root)
    raw = workspace.raw / DATASET
    write_ambiguous_dataset(
        raw, num_training=6, num_test=1, num_raters=2, family=SceneFamily(size=(16, 16))
    )
    api.plan_and_preprocess(raw, workspace=workspace, num_processes=0)
    _write_model(workspace.preprocessed / DATASET, workspace.results / DATASET / "model")
    _write_prediction(root / "predictions", workspace.results / DATASET / "model", raw)
    _write_images(root / "images")
    _write_volumes(root / "volumes")
    fuzz_other_kinds.build(root, model=workspace.results / DATASET / "model")
    rows = [f"synthetic{number:04d},{number % 2}" for number in range(6)]
    (root / "tags.csv").write_text("\n".join(["case,lesion", *rows]) + "\n")


def workspace_of(root: Path) -> Workspace:
    """Return the workspace below `root`."""
    return Workspace.resolve(folder=root / "workspace", environment={}, current_folder=root)


def kinds(root: Path) -> list[Kind]:
    """Return every kind, with the files that `build` made below `root`."""
    workspace = workspace_of(root)
    raw, preprocessed = workspace.raw / DATASET, workspace.preprocessed / DATASET
    model = workspace.results / DATASET / "model"
    fold, store = model / "fold_0", preprocessed / "2d"
    as_json = (change.json_changed, change.json_changed, change.bytes_changed)
    as_table = (change.table_changed, change.bytes_changed)
    as_shard = (change.shard_forged, change.shard_forged, change.bytes_changed)
    as_checkpoint = (change.archive_forged, change.content_forged, change.bytes_changed)
    fold_read = partial(_read_fold, preprocessed, model)
    continued = partial(_continue_training, preprocessed, fold)
    predictor = partial(_load, model)
    trained = load_model(model, folds=None, checkpoint="final", device=CPU)
    continued_prediction = partial(_continue_prediction, root / "predictions", trained, raw)
    return [
        *(_image_kind(root / "images" / f"image{ending}") for ending in supported_file_endings()),
        Kind(
            name="spacing of a TIFF image",
            path=root / "images" / "image.json",
            read=partial(read_image, [root / "images" / "image.tif"]),
            mutations=as_json,
        ),
        Kind(
            name="dataset.json",
            path=raw / "dataset.json",
            read=partial(_verify, raw),
            mutations=as_json,
        ),
        Kind(
            name="patients.csv",
            path=raw / "patients.csv",
            read=partial(open_dataset, raw),
            mutations=as_table,
        ),
        Kind(
            name="table of image-level labels",
            path=root / "tags.csv",
            read=partial(_read_tags, root / "tags.csv"),
            mutations=as_table,
        ),
        Kind(
            name="dataset_state.json",
            path=preprocessed / "dataset_state.json",
            read=partial(_read_state, preprocessed / "dataset_state.json"),
            mutations=as_json,
        ),
        Kind(
            name="dataset_fingerprint.json",
            path=preprocessed / "dataset_fingerprint.json",
            read=partial(_plan, root),
            mutations=as_json,
        ),
        Kind(
            name="diffunet_plans.json",
            path=preprocessed / "diffunet_plans.json",
            read=partial(_read_plans, preprocessed / "diffunet_plans.json"),
            mutations=as_json,
        ),
        Kind(
            name="splits_final.json",
            path=preprocessed / "splits_final.json",
            read=fold_read,
            mutations=as_json,
        ),
        Kind(
            name="store.manifest",
            path=store / "images" / "store.manifest",
            read=fold_read,
            mutations=as_json,
        ),
        Kind(
            name="shard of images",
            path=next((store / "images").glob("*.shard")),
            read=fold_read,
            mutations=as_shard,
        ),
        Kind(
            name="shard of label maps",
            path=next((store / "labels").glob("*.shard")),
            read=fold_read,
            mutations=as_shard,
        ),
        Kind(
            name="shard, preprocessed again",
            path=next((store / "labels").glob("*.shard")),
            read=partial(StoredCases.find, store / "labels"),
            mutations=as_shard,
        ),
        Kind(
            name="record of a volume",
            path=root / "volumes" / "v.json",
            read=partial(_read_store, root / "volumes"),
            mutations=as_json,
        ),
        Kind(
            name="blocks of a volume",
            path=root / "volumes" / "v.image.blocks",
            read=partial(_read_store, root / "volumes"),
            mutations=(change.blocks_forged, change.blocks_forged, change.bytes_changed),
        ),
        Kind(
            name="checkpoint, continued",
            path=fold / "checkpoint_latest.pth",
            read=continued,
            mutations=as_checkpoint,
        ),
        Kind(
            name="checkpoint, predicted with",
            path=fold / "checkpoint_final.pth",
            read=predictor,
            mutations=as_checkpoint,
        ),
        Kind(
            name="plans.resolved.json",
            path=fold / "plans.resolved.json",
            read=predictor,
            mutations=as_json,
        ),
        Kind(
            name="dataset.json of a model",
            path=model / "dataset.json",
            read=predictor,
            mutations=as_json,
        ),
        Kind(
            name="metrics.jsonl",
            path=fold / "metrics.jsonl",
            read=partial(_read_metrics, fold / "metrics.jsonl"),
            mutations=(change.lines_of_json_changed, change.bytes_changed),
        ),
        Kind(
            name="record of a prediction",
            path=record_path(root / "predictions", PREDICTED),
            read=continued_prediction,
            mutations=as_json,
        ),
        Kind(
            name="settings of a prediction that runs",
            path=root / "predictions" / RUN_FILE,
            read=partial(check_run, root / "predictions", SETTINGS),
            mutations=as_json,
        ),
        Kind(
            name="predictions.json",
            path=root / "predictions" / "predictions.json",
            read=continued_prediction,
            mutations=as_json,
        ),
        Kind(
            name="dataset.json of a prediction",
            path=root / "predictions" / "dataset.json",
            read=partial(dataset_content_of, None, root / "predictions", raw / "labelsTs"),
            mutations=as_json,
        ),
        *fuzz_other_kinds.kinds(root, model=model, plans=preprocessed / "diffunet_plans.json"),
    ]


def _image_kind(path: Path) -> Kind:
    def read() -> None:
        read_image([path])
        read_label_map(path)

    return Kind(name=f".{path.name.partition('.')[2]}", path=path, read=read)


def _write_model(preprocessed: Path, model: Path) -> None:
    """Write what a training of no iterations would."""
    plans = Plans.load(preprocessed / "diffunet_plans.json").resolve(settings=SMALL)
    fold = model / "fold_0"
    plans.save(fold / "plans.resolved.json")
    shutil.copyfile(preprocessed / "dataset.json", model / "dataset.json")
    state, origin = _new_training(preprocessed, fold)
    for parameter in state.model.parameters():  # the optimiser then has a state to be damaged
        parameter.grad = torch.ones_like(parameter)
    state.optimizer.step()
    state.save(fold / LATEST, origin)
    state.save_weights(fold / FINAL, origin)
    for iteration in range(3):
        append_record(fold / "metrics.jsonl", {"iteration": iteration, "loss": 0.5})


def _new_training(preprocessed: Path, fold: Path) -> tuple[TrainingState, Origin]:
    plans = ResolvedPlans.load(fold / "plans.resolved.json")
    labels = LabelScheme.from_dataset_json(read_json(preprocessed / "dataset.json"))
    model = METHODS[plans.method].build_model(
        plans.configuration, num_image_channels=1, labels=labels
    )
    plan = plans.configuration.training
    state = TrainingState(
        model=model,
        ema=ExponentialMovingAverage(model, decay=plan.ema_decay),
        optimizer=build_optimizer(model, plan),
    )
    return state, Origin(plans=plans, fold="0", seed=0, data={"synthetic0000": "1"})


def _write_prediction(folder: Path, model: Path, raw: Path) -> None:
    trained = load_model(model, folds=None, checkpoint="final", device=CPU)
    output = OutputFolder(folder, model=trained, settings=SETTINGS)
    output.begin(is_alone=True)
    geometry = ImageGeometry(shape=(16, 16), spacing_mm=(1.0, 1.0))
    (files,) = find_input_cases(raw / "imagesTs", ".png", 1)
    output.begin_case(files)
    output.write_record(files.case, {"volumes": {"lesion": 12.5}}, geometry)
    output.gather()


def _write_images(folder: Path) -> None:
    label_map = np.arange(6 * 8 * 10, dtype=np.uint8).reshape(6, 8, 10) % 7
    for ending in supported_file_endings():
        shape = label_map.shape if ending not in (".png", ".bmp") else label_map.shape[1:]
        array = label_map if len(shape) == 3 else label_map[0]
        geometry = ImageGeometry(shape=shape, spacing_mm=(1.0,) * len(shape))
        write_label_map(folder / f"image{ending}", array, geometry)


def _write_volumes(folder: Path) -> None:
    sources = {"v": "1"}
    write_group(folder, sources, stored={}, make=_made_volume, is_packed=False)
    seal(folder, sources, {"v": ""}, recipe={})


def _made_volume(case: str) -> MadeCase:
    shape = (12, 20, 18)
    image = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    properties = CaseProperties(
        case=case,
        patient="p",
        original_shape=shape,
        original_spacing_mm=(1.0,) * 3,
        transpose_forward=(0, 1, 2),
        crop_box=Box((0, 0, 0), shape),
        shape=shape,
        spacing_mm=(1.0,) * 3,
        normalization=(IntensityNormalization(),),
        is_normalized=True,
    )
    return MadeCase(
        properties=properties, arrays={"image": image}, patch_sizes={"image": (8, 8, 8)}
    )


def _verify(raw: Path) -> None:
    if problems := verify_dataset(raw, num_processes=0).problems:
        raise DatasetError(problems)


def _read_tags(path: Path) -> None:
    cases = [f"synthetic{number:04d}" for number in range(6)]
    read_image_labels(path, label_names=("lesion",), training_cases=cases, test_cases=())


def _read_state(path: Path) -> None:
    state = DatasetState.load(path)
    if state is not None:
        state.changes_since(DatasetState(declared={}, cases={}))


def _plan(root: Path) -> None:
    """Plan into a folder of its own, as `diffunet_plan_experiment` does."""
    api.plan_experiment(DATASET, workspace=workspace_of(root), plans_name="again")


def _read_plans(path: Path) -> None:
    plans = Plans.load(path)
    for name in plans.configurations:
        plans.resolve(name, settings=["training.num_iterations=5"])


def _read_store(folder: Path) -> None:
    store = CaseStore(folder)
    for case in store.cases:
        properties = store.properties(case)
        store.content_of(case)
        for name in store.array_names(case):
            array = store.array(case, name)
            array[:, : array.shape[1] // 2]
            if name == "image":
                properties.normalized(np.asarray(array[:]))
    StoredCases.find(folder)


def _read_fold(preprocessed: Path, model: Path) -> None:
    plans = ResolvedPlans.load(model / "fold_0" / "plans.resolved.json")
    data = open_fold(plans, preprocessed, fold="0", device=CPU)
    data.content()
    source = PatchSampler(
        PatchPlaces(
            data.images,
            data.label_maps,
            cases=data.split.train,
            configuration=plans.configuration,
            batch_size=2,
            seed=0,
        )
    )
    for index in range(2):
        source.sample(0, index)


def _continue_training(preprocessed: Path, fold: Path) -> None:
    state, origin = _new_training(preprocessed, fold)
    state.restore(fold / LATEST, origin)


def _load(model: Path) -> None:
    load_model(model, folds=None, checkpoint="final", device=CPU)


def _read_metrics(path: Path) -> None:
    copied = path.with_name("copied.jsonl")
    shutil.copyfile(path, copied)
    keep_records_until(copied, 1, last_validation=1)


def _continue_prediction(folder: Path, trained: TrainedModel, raw: Path) -> None:
    output = OutputFolder(folder, model=trained, settings=SETTINGS)
    cases = find_input_cases(raw / "imagesTs", ".png", 1)
    output.begin(is_alone=True)
    output.whole_cases(cases)
    output.content_of_record(cases[0].case)
    output.gather()

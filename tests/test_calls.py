"""Functions that users call from Python: any form of an argument, any state of torch."""

import functools
import inspect
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from tqdm.auto import tqdm

from diffunet import Predictor, WeakPredictor, api
from diffunet.calls import from_python, own_torch_state
from diffunet.errors import UsageError
from diffunet.parallel import Progress, without_progress
from diffunet.workspace import Workspace

PUBLIC = [
    *(getattr(api, name) for name in api.__all__),
    Predictor.predict,
    WeakPredictor.predict,
    Predictor.from_folder,
]


@from_python
def echo(
    number: int = 0,
    *,
    share: float | None = None,
    folds: Sequence[int | str] | None = None,
    fold: int | str | Sequence[int | str] = 0,
    words: Sequence[str] = (),
    sizes: Sequence[float] | None = None,
    folder: Path | None = None,
    output: Path | str | None = None,
    place: Workspace | Path | None = None,
    dataset: int | str | Path | None = None,
    name: str = "",
    is_on: bool = False,
    saves: bool | Literal["one_file"] = False,
    kind: Literal["final", "best"] = "final",
    image: np.ndarray | None = None,
    on_step: Callable[[int], None] | None = None,
    progress: Progress = without_progress,
) -> Any:
    return {key: value for key, value in locals().items() if value is not None}


@pytest.mark.parametrize("function", PUBLIC, ids=lambda function: function.__qualname__)
def test_every_public_function_takes_its_arguments_so(function):
    assert inspect.unwrap(function) is not function
    with pytest.raises((UsageError, TypeError)):
        function(object(), object())


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("number", np.int64(3), 3),
        ("number", 3.0, 3),
        ("number", np.float32(3), 3),
        ("share", np.float32(0.5), 0.5),
        ("share", 1, 1),
        ("folds", 0, (0,)),
        ("folds", "all", ("all",)),
        ("folds", np.arange(2), (0, 1)),
        ("folds", range(2), (0, 1)),
        ("folds", [np.int64(1)], (1,)),
        ("folds", torch.tensor([1]), (1,)),
        ("fold", np.int64(1), 1),
        ("fold", "all_folds", "all_folds"),
        ("fold", np.array([1, 2]), (1, 2)),
        ("words", "a.b=1", ("a.b=1",)),
        ("sizes", np.array([1.0, 2.0]), (1.0, 2.0)),
        ("folder", "a/b", Path("a/b")),
        ("folder", "~/b", Path("~/b").expanduser()),
        ("output", "~/b", Path("~/b").expanduser()),
        ("dataset", "~/b", str(Path("~/b").expanduser())),
        ("place", "a", Path("a")),
        ("name", np.str_("cpu"), "cpu"),
        ("name", torch.device("cuda", 1), "cuda:1"),
        ("is_on", np.True_, True),
        ("saves", "one_file", "one_file"),
        ("kind", "best", "best"),
    ],
)
def test_arguments_come_in_the_forms_of_notebooks(name, given, expected):
    found = echo(**{name: given})[name]
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("number", "3", "a whole number, got '3'"),
        ("number", 2.5, "a whole number, got 2.5"),
        ("number", True, "a whole number, got True"),
        ("number", None, "a whole number, got None"),
        ("share", "0.5", "a number or None, got '0.5'"),
        ("folds", 0.5, "a list (of a whole number or text) or None"),
        ("words", {"a.b": 1}, "a list (of text), got {'a.b': 1}"),
        ("folder", b"a", "a path or None, got b'a'"),
        ("output", ["a"], "a path or None, got ['a']"),
        ("name", 3, "text, got 3"),
        ("is_on", "no", "True or False, got 'no'"),
        ("saves", "yes", "True or False or 'one_file', got 'yes'"),
        ("kind", "checkpoint_final.pth", "'final' or 'best'"),
        ("progress", True, "a function, got True"),
    ],
)
def test_an_argument_of_another_type_is_named(name, given, words):
    with pytest.raises(UsageError) as refusal:
        echo(**{name: given})
    assert str(refusal.value).startswith(f"{name}: expected ")
    assert words in str(refusal.value)


def test_what_is_an_object_stays_the_same_object():
    image = np.zeros((1, 4, 4))
    assert echo(image=image)["image"] is image
    place = Workspace.resolve(folder=Path("w"), environment={}, current_folder=Path.cwd())
    assert echo(place=place)["place"] is place


def test_tqdm_itself_shows_progress(capsys):
    progress = echo(progress=functools.partial)["progress"]
    assert progress is functools.partial
    assert list(echo(progress=tqdm)["progress"](iter("ab"), 2, "reading")) == ["a", "b"]
    assert "reading: 100%" in capsys.readouterr().err


def test_the_folders_are_those_of_a_command(tmp_path, monkeypatch):
    """In a notebook, variables are set after the import."""
    monkeypatch.setenv("diffunet_raw", str(tmp_path / "elsewhere"))
    monkeypatch.chdir(tmp_path)
    folder = api.example_dataset("lung_nodules")
    assert folder.parent == tmp_path / "elsewhere"


@from_python
def state() -> dict[str, Any]:
    layer = torch.nn.Linear(2, 2)
    torch.randn(2)
    torch.manual_seed(1)
    product = layer(torch.ones(1, 2)) @ torch.ones(2, 2)
    return {
        "type": product.dtype,
        "device": product.device.type,
        "has gradients": product.requires_grad,
        "is a constant": product.is_inference(),
    }


OURS = {"type": torch.float32, "device": "cpu", "has gradients": True, "is a constant": False}


@pytest.mark.parametrize(
    "theirs",
    [
        torch.no_grad,
        torch.inference_mode,
        lambda: torch.device("meta"),
        lambda: torch.autocast("cpu", torch.bfloat16),
    ],
    ids=["no_grad", "inference_mode", "device", "autocast"],
)
def test_what_the_caller_set_in_torch_has_no_effect(theirs):
    with theirs():
        assert state() == OURS


def test_the_type_of_new_tensors_is_ours_and_then_the_callers_again():
    torch.set_default_dtype(torch.float64)
    try:
        assert state() == OURS
        with pytest.raises(ZeroDivisionError), own_torch_state():
            raise ZeroDivisionError
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_the_callers_random_numbers_are_as_without_us():
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    state()
    assert torch.equal(torch.randn(3), expected)


def test_an_import_leaves_pythons_random_numbers_to_the_caller():
    code = (
        "import random; random.seed(5); state = random.getstate(); "
        "import diffunet.evaluation.folder; assert random.getstate() == state"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

"""Files of models that came from anyone: each is whole, or refused without a trace."""

import errno
import hashlib
import json
import re
import shutil
import stat
import struct
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from diffunet.checkpoint import load_checkpoint
from diffunet.errors import CheckpointError, InUseError, WorkspaceError, WriteError
from diffunet.locks import in_use
from diffunet.sharing import install
from diffunet.sharing.archive import MANIFEST_FILE
from diffunet.sharing.export import export_model
from diffunet.sharing.info import lines_of, model_info
from diffunet.sharing.install import install_model, opened_weights
from diffunet.training.state import load_pretrained
from tests.full_disk import full_disk
from tests.inference.models import dataset_content, small_configuration, small_plans, write_model

CHECKPOINT = "fold_0/checkpoint_final.pth"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The members of a sound file."""
    folder = tmp_path_factory.mktemp("whole")
    plans = small_plans(small_configuration(dimensions=2))
    write_model(folder / "model", plans, content=dataset_content())
    path = folder / "model.zip"
    export_model(
        folder / "model",
        path,
        folds=None,
        checkpoint="final",
        precision="float32",
        license="MIT",
        note="",
    )
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def written(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def relisted(members, **changes):
    """Members whose manifest lists them as they are, as an attacker would write it."""
    manifest = {**json.loads(members[MANIFEST_FILE]), **changes}
    manifest["files"] = {
        name: {"num_bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in members.items()
        if name != MANIFEST_FILE
    }
    return {**members, MANIFEST_FILE: json.dumps(manifest).encode()}


def refused(path, tmp_path, match):
    results = tmp_path / "workspace" / "results"
    with pytest.raises(CheckpointError, match=match) as caught:
        install_model(path, results, dataset_name=None)
    assert str(path) in str(caught.value)
    assert not (tmp_path / "workspace").exists()


def test_a_sound_file_is_installed(whole, tmp_path):
    path = written(tmp_path / "m.zip", relisted(whole))
    folder = install_model(path, tmp_path / "results", dataset_name="Dataset005_Other")
    assert folder == tmp_path / "results/Dataset005_Other/diffusion__diffunet_plans__small"
    assert {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} == set(whole)


PACKED_AGAIN = {
    "a folder around": lambda name: f"My model/{name}",
    "backslashes": lambda name: name.replace("/", "\\"),
    "both": lambda name: f"My model\\{name}".replace("/", "\\"),
}


@pytest.mark.parametrize("rename", PACKED_AGAIN.values(), ids=PACKED_AGAIN)
def test_a_file_that_was_unpacked_and_packed_again_is_what_it_was(whole, tmp_path, rename):
    added = ["fold_0/", "__MACOSX/._model.json", ".DS_Store", "fold_0/._x", "Thumbs.db"]
    members = {rename(name): content for name, content in whole.items()}
    members |= {name if "MACOSX" in name else rename(name): b"" for name in added}
    path = written(tmp_path / "m.zip", members)
    folder = install_model(path, tmp_path / "results", dataset_name=None)
    found = {str(p.relative_to(folder)): p for p in folder.rglob("*") if p.is_file()}
    assert {name: file.read_bytes() for name, file in found.items()} == whole


def test_a_folder_around_leads_nowhere(whole, tmp_path):
    members = {f"../{name}": content for name, content in whole.items()}
    install_model(written(tmp_path / "m.zip", members), tmp_path / "results", dataset_name=None)
    assert {each.name for each in tmp_path.iterdir()} == {"m.zip", "results"}


def test_a_zip_file_that_was_never_an_export_is_told_as_what_it_is(whole, tmp_path):
    by_hand = {f"model/{name}": c for name, c in whole.items() if name != MANIFEST_FILE}
    refused(written(tmp_path / "m.zip", by_hand), tmp_path, "zipped by hand.*--model")
    inner = {"model.zip": b"PK"}
    refused(written(tmp_path / "m.zip", inner), tmp_path, "nothing but the zip file 'model.zip'")
    nnunet = {"Dataset001/plans.json": b"{}", "Dataset001/fold_0/checkpoint_final.pth": b""}
    refused(written(tmp_path / "m.zip", nnunet), tmp_path, "a model of nnU-Net")


@pytest.mark.parametrize(
    "name",
    [
        "../evil.json",
        "../../../etc/cron.d/evil",
        "/etc/evil.json",
        "fold_0/../../evil.json",
        "fold_0/../evil",
        "C:/evil.json",
        "fold_0\\..\\evil.json",
        "fold_0/code.py",
        "fold_00/checkpoint_final.pth",
        "fold_0/",
        ".hidden.json",
        "fold_0/data.pkl",
    ],
)
def test_a_name_that_no_model_has_is_refused(whole, tmp_path, name):
    members = relisted({**whole, name: b"{}"})
    refused(written(tmp_path / "m.zip", members), tmp_path, "is no file of a model|is a link")


def test_a_link_is_refused(whole, tmp_path):
    path = written(tmp_path / "m.zip", {k: v for k, v in whole.items() if k != "dataset.json"})
    entry = zipfile.ZipInfo("dataset.json")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(entry, "/etc/passwd")
    refused(path, tmp_path, "is a link")


def test_a_name_that_stands_twice_is_refused(whole, tmp_path):
    path = written(tmp_path / "m.zip", whole)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("dataset.json", b"{}")
    refused(path, tmp_path, r"it holds 'dataset\.json' twice")


def test_a_bomb_is_refused_by_what_it_declares(whole, tmp_path):
    members = relisted({**whole, CHECKPOINT: b"\0" * 2**26})
    refused(written(tmp_path / "m.zip", members), tmp_path, "would unpack to")


def test_a_bomb_that_understates_its_size_unpacks_no_more_than_that(whole, tmp_path):
    path = written(tmp_path / "m.zip", relisted({**whole, CHECKPOINT: b"\0" * 2**25}))
    content = bytearray(path.read_bytes())
    true, said = struct.pack("<I", 2**25), struct.pack("<I", 1000)
    assert content.count(true) >= 2  # the local and the central header
    path.write_bytes(bytes(content.replace(true, said)))
    refused(path, tmp_path, "were exported|is damaged")


def test_a_changed_byte_of_the_content_is_found_by_its_sha256(whole, tmp_path):
    changed = bytearray(whole[CHECKPOINT])
    changed[len(changed) // 2] ^= 1
    members = {**whole, CHECKPOINT: bytes(changed)}
    refused(written(tmp_path / "m.zip", members), tmp_path, "SHA-256 differs")


def test_a_changed_byte_of_the_file_is_refused_unless_it_changes_nothing_installed(whole, tmp_path):
    """Times and attributes stand in a zip file too, and nobody reads them."""
    sound = written(tmp_path / "sound.zip", whole).read_bytes()
    path, results = tmp_path / "m.zip", tmp_path / "workspace" / "results"
    num_refused = 0
    for place in range(len(sound) // 23, len(sound), len(sound) // 23):
        path.write_bytes(sound[:place] + bytes([sound[place] ^ 0x10]) + sound[place + 1 :])
        try:
            folder = install_model(path, results, dataset_name=None)
        except CheckpointError:
            num_refused += 1
            assert not results.parent.exists()
        else:
            assert all((folder / name).read_bytes() == content for name, content in whole.items())
            shutil.rmtree(results.parent)
    assert num_refused >= 18


@pytest.mark.parametrize("share", [0.2, 0.9, 0.999])
def test_a_truncated_file_is_refused(whole, tmp_path, share):
    path = written(tmp_path / "m.zip", whole)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    refused(path, tmp_path, "no whole zip file")


@pytest.mark.parametrize("name", ["dataset.json", CHECKPOINT])
def test_a_missing_file_is_refused(whole, tmp_path, name):
    members = relisted({each: content for each, content in whole.items() if each != name})
    refused(written(tmp_path / "m.zip", members), tmp_path, f"'{name}' is missing")


def test_a_file_that_is_not_listed_is_refused(whole, tmp_path):
    members = {**whole, "more.json": b"{}"}
    refused(written(tmp_path / "m.zip", members), tmp_path, "not in its list")


@pytest.mark.parametrize(
    "changes, match",
    [
        ({"format_version": 99}, "version 99"),
        ({"format": "something else"}, "does not say"),
        ({"dataset": "../../home"}, "dataset should be a name"),
        ({"plans_name": "a/b"}, "plans_name should be a name"),
        ({"method": "os.system"}, "method should be one of"),
        ({"folds": ["../.."]}, "is missing"),
        ({"folds": []}, "folds should be"),
        ({"precision": 7}, "precision"),
        ({"more": 1}, "unknown key"),
    ],
)
def test_a_manifest_that_no_export_writes_is_refused(whole, tmp_path, changes, match):
    path = written(tmp_path / "m.zip", relisted(whole, **changes))
    refused(path, tmp_path, match)


def test_a_pickle_in_place_of_a_checkpoint_is_refused_and_not_run(whole, tmp_path):
    ran = tmp_path / "ran"
    pickle = b"cposix\nsystem\n(S'touch " + str(ran).encode() + b"'\ntR."
    members = relisted({**whole, CHECKPOINT: pickle})
    refused(written(tmp_path / "m.zip", members), tmp_path, "checkpoint")
    assert not ran.exists()


def test_weights_that_do_not_fit_the_plans_are_refused(whole, tmp_path):
    name = "fold_0/plans.resolved.json"
    plans = json.loads(whole[name])
    plans["configuration"]["network"]["channels"][0] *= 2
    members = relisted({**whole, name: json.dumps(plans).encode()})
    refused(written(tmp_path / "m.zip", members), tmp_path, "does not fit")


def test_what_is_no_zip_file_is_refused(tmp_path):
    path = tmp_path / "m.zip"
    path.write_bytes(b"<!DOCTYPE html><p>Sign in")
    refused(path, tmp_path, "no zip file, but begins with '<!DOCTYPE html>")
    path.write_bytes(b"")
    refused(path, tmp_path, "is empty")
    refused(tmp_path, tmp_path, "is a folder")
    refused(tmp_path / "none.zip", tmp_path, "does not exist")


def of_two_folds(folder):
    plans = small_plans(small_configuration(dimensions=2))
    return write_model(folder / "model", plans, content=dataset_content(), folds=("0", "3"))


@pytest.mark.parametrize(("fold", "taken"), [("3", "3"), ("0", "0"), ("1", "0"), ("all", "0")])
def test_a_fold_starts_from_its_own_weights_or_the_first(tmp_path, fold, taken):
    """Then a fold of the same dataset has not seen the cases that it is validated on."""
    model = of_two_folds(tmp_path)
    with opened_weights(model, fold=fold) as path:
        assert path == model / f"fold_{taken}" / "checkpoint_final.pth"


def test_a_training_starts_from_a_zip_file_as_from_the_folder(tmp_path):
    model = of_two_folds(tmp_path)
    exported = tmp_path / "MODEL.ZIP"
    export_model(
        model,
        tmp_path / "model.zip",
        folds=None,
        checkpoint="final",
        precision="float32",
        license=None,
        note="",
    )
    (tmp_path / "model.zip").rename(exported)
    with opened_weights(exported, fold="3") as path:
        found = load_checkpoint(path, "cpu")["weights"]
    expected = load_checkpoint(model / "fold_3" / "checkpoint_final.pth", "cpu")["weights"]
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_weights_that_fit_nowhere_are_told_by_the_name_that_was_given(tmp_path):
    model = of_two_folds(tmp_path)
    exported = tmp_path / "model.zip"
    export_model(
        model,
        exported,
        folds=None,
        checkpoint="final",
        precision="float32",
        license=None,
        note="",
    )
    with (
        pytest.raises(CheckpointError, match=re.escape(f"'{exported}/fold_0")),
        opened_weights(exported, fold="0") as path,
    ):
        load_pretrained(torch.nn.Linear(2, 2), path)


def test_a_checkpoint_is_what_it_is(tmp_path):
    path = of_two_folds(tmp_path) / "fold_0" / "checkpoint_final.pth"
    with opened_weights(path, fold="3") as found:
        assert found == path


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    with (
        pytest.raises(CheckpointError, match="expected"),
        opened_weights(tmp_path, fold="0"),
    ):
        pass


def test_an_installed_model_is_not_replaced(whole, tmp_path):
    path = written(tmp_path / "m.zip", whole)
    folder = install_model(path, tmp_path / "results", dataset_name=None)
    (folder / "mine.txt").write_text("kept")
    with pytest.raises(WorkspaceError, match="is there already"):
        install_model(path, tmp_path / "results", dataset_name=None)
    assert (folder / "mine.txt").read_text() == "kept"


def test_a_disk_without_room_is_told_before_anything_is_written(whole, tmp_path, monkeypatch):
    path = written(tmp_path / "m.zip", whole)
    usage = install.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(install.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(WriteError, match="MB free"):
        install_model(path, tmp_path / "workspace" / "results", dataset_name=None)
    assert not (tmp_path / "workspace").exists()


def test_a_disk_that_fills_in_the_midst_is_told_with_the_file(whole, tmp_path):
    path = written(tmp_path / "m.zip", whole)
    with pytest.raises(WriteError, match=r"\.pth': the limit on the size"), full_disk(20_000):
        install_model(path, tmp_path / "workspace" / "results", dataset_name=None)
    assert not (tmp_path / "workspace").exists()


def test_a_disk_that_cannot_be_read_is_told_with_the_file(whole, tmp_path, monkeypatch):
    def refuse(self, *_):
        raise OSError(errno.EIO, "Input/output error")

    path = written(tmp_path / "m.zip", whole)
    monkeypatch.setattr(zipfile.ZipExtFile, "read", refuse)
    refused(path, tmp_path, "m.zip': Input/output error; check the disk")


def test_a_refusal_leaves_what_was_in_results(whole, tmp_path):
    other = tmp_path / "results" / "Dataset999_Small" / "other"
    other.mkdir(parents=True)
    members = relisted({**whole, CHECKPOINT: b"damaged"})
    with pytest.raises(CheckpointError):
        install_model(written(tmp_path / "m.zip", members), tmp_path / "results", dataset_name=None)
    assert [p.name for p in (tmp_path / "results" / "Dataset999_Small").iterdir()] == ["other"]


def test_what_a_killed_installation_left_is_replaced(whole, tmp_path):
    left = tmp_path / "results/Dataset999_Small/.unfinished-diffusion__diffunet_plans__small"
    (left / "fold_0").mkdir(parents=True)
    (left / "dataset.json").write_text("half")
    path = written(tmp_path / "m.zip", whole)
    folder = install_model(path, tmp_path / "results", dataset_name=None)
    assert [each.name for each in folder.parent.iterdir()] == [folder.name]


def test_two_installations_of_one_model_do_not_meet(whole, tmp_path):
    path = written(tmp_path / "m.zip", whole)
    place = tmp_path / "results/Dataset999_Small"
    with ThreadPoolExecutor(1) as other, in_use(place, part="diffusion__diffunet_plans__small"):
        second = other.submit(install_model, path, tmp_path / "results", dataset_name=None)
        with pytest.raises(InUseError, match="process"):
            second.result()
    install_model(path, tmp_path / "results", dataset_name=None)


@pytest.mark.parametrize("content", [[], "text", None, {"channel_names": []}])
def test_a_dataset_json_of_another_kind_is_refused_by_all(whole, tmp_path, content):
    if isinstance(content, dict):
        content = {**json.loads(whole["dataset.json"]), **content}
    members = relisted({**whole, "dataset.json": json.dumps(content).encode()})
    path = written(tmp_path / "m.zip", members)
    with pytest.raises(CheckpointError, match=r"dataset\.json|channel_names"):
        model_info(path)
    refused(path, tmp_path, r"dataset\.json|channel_names")


def test_scores_of_another_kind_are_refused_by_the_info(whole, tmp_path):
    members = relisted({**whole, "fold_0/validation/summary.json": b"[1]"})
    with pytest.raises(CheckpointError, match="should hold an object"):
        model_info(written(tmp_path / "m.zip", members))


def test_a_note_cannot_command_the_terminal(whole, tmp_path):
    path = written(tmp_path / "m.zip", relisted(whole, note="\x1b[2Jgone\nmethod  fake"))
    shown = "\n".join(lines_of(model_info(path)))
    assert "\\x1b[2Jgone\\nmethod  fake" in shown
    assert "\x1b" not in shown


def test_a_file_of_another_size_than_listed_is_refused(whole, tmp_path):
    manifest = json.loads(whole[MANIFEST_FILE])
    manifest["files"]["dataset.json"]["num_bytes"] += 1
    members = {**whole, MANIFEST_FILE: json.dumps(manifest).encode()}
    refused(written(tmp_path / "m.zip", members), tmp_path, "were exported")


def test_an_encrypted_file_is_refused(whole, tmp_path):
    path = written(tmp_path / "m.zip", whole)
    content = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + flags] |= 1
    path.write_bytes(content)
    refused(path, tmp_path, "is encrypted")


def test_a_compression_that_no_export_uses_is_refused(whole, tmp_path):
    path = written(tmp_path / "m.zip", {k: v for k, v in whole.items() if k != "dataset.json"})
    with zipfile.ZipFile(path, "a", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("dataset.json", whole["dataset.json"])
    refused(path, tmp_path, "compressed in a way")


def test_json_without_end_is_refused_before_it_is_read(whole, tmp_path):
    path = written(tmp_path / "m.zip", whole)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr("more.json", b" " * (2**24 + 1))
    refused(path, tmp_path, "more than such a file can")


def test_thousands_of_files_are_refused(whole, tmp_path):
    members = {**whole, **{f"{number}.json": b"" for number in range(1000)}}
    refused(written(tmp_path / "m.zip", members), tmp_path, "it holds 100[0-9] files")

import ast
from pathlib import Path

import pytest

from diffunet import workspace as home
from diffunet.errors import WorkspaceError
from diffunet.workspace import Workspace, bare_name


@pytest.fixture
def workspace(tmp_path):
    for name in ("raw/Dataset001_Lung", "raw/Dataset010_Lung", "preprocessed/Dataset002_Eye"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "raw" / "notes").mkdir()
    return Workspace.resolve(folder=tmp_path, environment={}, current_folder=tmp_path)


def test_a_given_folder_wins_over_environment_variables(tmp_path):
    found = Workspace.resolve(
        folder=tmp_path, environment={"diffunet_raw": "/elsewhere"}, current_folder=tmp_path
    )
    assert found.raw == tmp_path / "raw"
    assert "--workspace" in str(found)


def test_each_environment_variable_replaces_one_folder_of_the_default(tmp_path):
    found = Workspace.resolve(
        folder=None, environment={"diffunet_raw": str(tmp_path / "r")}, current_folder=tmp_path
    )
    assert found.raw == tmp_path / "r"
    assert found.results == tmp_path / "diffunet_workspace" / "results"
    assert "environment: diffunet_raw" in str(found)


def test_without_anything_the_workspace_lies_in_the_current_folder(tmp_path):
    found = Workspace.resolve(folder=None, environment={}, current_folder=tmp_path)
    assert found.preprocessed == tmp_path / "diffunet_workspace" / "preprocessed"


@pytest.mark.parametrize("around", ['"{}"', "'{}'", "{} ", ' "{}"'])
def test_quotation_marks_around_a_variable_are_told(tmp_path, around):
    environment = {"diffunet_raw": around.format(tmp_path)}
    with pytest.raises(
        WorkspaceError, match="diffunet_raw is .*with quotation marks or spaces"
    ) as e:
        Workspace.resolve(folder=None, environment=environment, current_folder=tmp_path)
    assert f"set it to [{tmp_path}]" in str(e.value)


@pytest.mark.parametrize("value", ["$DATA/raw", "${HOME}/raw"])
def test_a_variable_in_a_variable_that_no_shell_replaced_is_told(tmp_path, value):
    with pytest.raises(WorkspaceError, match="diffunet_raw is .*no shell has replaced"):
        Workspace.resolve(folder=None, environment={"diffunet_raw": value}, current_folder=tmp_path)


def test_the_home_folder_in_a_variable_is_no_folder_of_that_name(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    place = Workspace.resolve(
        folder=None, environment={"diffunet_results": "~/results/"}, current_folder=tmp_path
    )
    assert place.results == tmp_path / "home" / "results"


def test_a_dataset_under_a_name_that_does_not_count_is_told(tmp_path):
    place = Workspace.resolve(folder=tmp_path, environment={}, current_folder=tmp_path)
    with pytest.raises(WorkspaceError, match="raw', which does not exist, as DatasetXXX_NAME"):
        place.dataset_name(12)
    for name in ("Dataset12_Heart", "Task013_Liver"):
        (tmp_path / "raw" / name).mkdir(parents=True)
        (tmp_path / "raw" / name / "dataset.json").touch()
    with pytest.raises(WorkspaceError, match="not taken for .*Dataset12_Heart, Task013_Liver"):
        place.dataset_name(12)


@pytest.mark.parametrize("text", [1, "1", "001", "Dataset001_Lung"])
def test_a_dataset_is_found_by_number_or_full_name(workspace, text):
    assert workspace.dataset_name(text) == "Dataset001_Lung"


def test_a_dataset_is_found_by_its_bare_name_and_in_any_folder(workspace):
    assert workspace.dataset_name("Eye") == "Dataset002_Eye"


def test_a_path_names_a_dataset(workspace, tmp_path):
    assert workspace.dataset_name(tmp_path / "raw" / "Dataset001_Lung") == "Dataset001_Lung"
    assert workspace.raw_folder(f"{tmp_path}/raw/Dataset001_Lung/").name == "Dataset001_Lung"


@pytest.mark.parametrize("text", ["²", "１", "00²", "9" * 5000])
def test_what_is_no_usual_number_is_no_dataset(workspace, text):
    with pytest.raises(WorkspaceError, match="there is no dataset"):
        workspace.dataset_name(text)


@pytest.mark.parametrize("name", ["../..", "/", "a/b", ""])
@pytest.mark.parametrize("what", ["method", "plans", "configuration"])
def test_no_name_leads_out_of_the_results(workspace, what, name):
    names = {"method": "diffusion", "plans": "diffunet_plans", "configuration": "2d", what: name}
    with pytest.raises(WorkspaceError, match=f"{what}: expected a name that a file can have"):
        workspace.model_folder(1, **names)


def test_a_dataset_planned_by_its_path_keeps_the_name_of_its_folder(workspace, tmp_path):
    path = tmp_path / "elsewhere" / "my data"
    path.mkdir(parents=True)
    (workspace.preprocessed / workspace.raw_folder(path).name).mkdir()
    name = workspace.dataset_name(path)
    assert name == workspace.dataset_name(name) == "my data"
    folder = workspace.model_folder(name, method="diffusion", plans="p", configuration="2d")
    assert folder == workspace.results / "my data" / "diffusion__p__2d"


@pytest.mark.parametrize("path", ["/", "7", ".hidden"])
def test_a_path_that_names_no_dataset_is_refused_before_planning(workspace, tmp_path, path):
    folder = tmp_path / "elsewhere" / path
    folder.mkdir(parents=True, exist_ok=True)
    for ask in (workspace.raw_folder, workspace.dataset_name):
        with pytest.raises(WorkspaceError, match="rename the folder, for example to Dataset001_"):
            ask(folder)


def test_an_ambiguous_name_lists_the_candidates(workspace):
    with pytest.raises(WorkspaceError, match="Dataset001_Lung, Dataset010_Lung"):
        workspace.dataset_name("Lung")


def test_an_unknown_dataset_lists_what_is_there(workspace):
    with pytest.raises(WorkspaceError, match="no dataset '7'.*found: Dataset001_Lung"):
        workspace.dataset_name(7)


def test_a_missing_raw_folder_is_named(workspace):
    with pytest.raises(WorkspaceError, match="raw dataset .*Dataset002_Eye' does not exist"):
        workspace.raw_folder("Eye")


def test_results_lie_by_method_plans_and_configuration(workspace):
    folder = workspace.model_folder(
        1, method="diffusion", plans="diffunetPlans", configuration="2d"
    )
    assert folder.name == "diffusion__diffunetPlans__2d"
    assert folder.parent == workspace.results / "Dataset001_Lung"
    assert workspace.preprocessed_folder(1) == workspace.preprocessed / "Dataset001_Lung"


@pytest.mark.parametrize("wanted", [503, "503", "Dataset503_LungPseudo"])
def test_a_new_dataset_has_a_number_and_a_name(workspace, wanted):
    found = workspace.new_dataset_name(wanted, default="LungPseudo")
    assert found == "Dataset503_LungPseudo"


def test_a_number_is_written_with_three_digits(workspace):
    assert workspace.new_dataset_name(7, default="X") == "Dataset007_X"


def test_a_dataset_that_is_there_may_be_named_again(workspace):
    assert workspace.new_dataset_name("Dataset002_Eye", default="X") == "Dataset002_Eye"


@pytest.mark.parametrize("wanted", [2, "Dataset002_Ear"])
def test_a_number_is_given_once(workspace, wanted):
    with pytest.raises(WorkspaceError, match="the number 002 is that of Dataset002_Eye"):
        workspace.new_dataset_name(wanted, default="X")


@pytest.mark.parametrize("wanted", [1000, -1, "Pseudo", "", "²", "Dataset503_", "Dataset503_a/b"])
def test_a_new_dataset_of_another_form_is_refused(workspace, wanted):
    with pytest.raises(WorkspaceError, match=f"a number from 0 to 999.*got '{wanted}'"):
        workspace.new_dataset_name(wanted, default="X")


def test_a_bare_name_has_no_number():
    assert bare_name("Dataset001_Lung") == "Lung"
    assert bare_name("lungs") == "lungs"


def test_each_file_of_a_workspace_is_named_in_one_place():
    names = {value for name, value in vars(home).items() if name.endswith(("_FILE", "_NAME"))}
    assert "dataset.json" in names
    elsewhere = [
        f"{path}:{node.lineno} {node.value}"
        for path in Path(home.__file__).parent.rglob("*.py")
        if path != Path(home.__file__)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in names
    ]
    assert elsewhere == []


def test_a_dataset_that_is_a_link_to_a_disk_that_is_not_there_is_told(tmp_path):
    workspace = Workspace.resolve(folder=tmp_path, environment={}, current_folder=tmp_path)
    workspace.raw.mkdir()
    (workspace.raw / "Dataset001_Far").symlink_to("/nowhere/Dataset001_Far")
    with pytest.raises(WorkspaceError, match="is a link to '/nowhere/Dataset001_Far', .*mount"):
        workspace.raw_folder("Dataset001_Far")

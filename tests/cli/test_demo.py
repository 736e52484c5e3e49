import pytest

from diffunet.cli import demo
from diffunet.errors import UsageError


@pytest.mark.parametrize("name", ["demo.png", "predictions", "diffunet_workspace"])
def test_the_demo_replaces_nothing_of_the_users(tmp_path, capsys, name):
    (tmp_path / name).mkdir() if name != "demo.png" else (tmp_path / name).write_text("mine")
    assert demo.main(["--output", str(tmp_path), "--iterations", "2", "-np", "0"]) == 2
    assert "holds files that the demo did not write" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_file_is_no_folder_for_the_demo(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(UsageError, match="expected a folder, found a file"):
        demo.check_output(tmp_path / "out")


def test_a_demo_that_was_interrupted_goes_on(tmp_path):
    demo.check_output(tmp_path / "new")
    (tmp_path / demo.WORKSPACE / "raw" / demo.DATASET).mkdir(parents=True)
    (tmp_path / "demo.png").touch()
    demo.check_output(tmp_path)

"""A page in a real browser, where there is one: it runs without errors, and draws something."""

import json
import re
import shutil
import subprocess

import pytest

from diffunet import api
from tests.report.folders_on_disk import NASTY, VOLUME, write_predictions

BROWSER = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
DRIVEN = """
<script>
const table = document.querySelector("#cases");
const column = table.tHead.rows[0].cells[1];
const read = () => [...table.tBodies[0].rows].map((row) => Number(row.cells[1].dataset.value));
column.click();
const rising = read().join(" ");
column.click();
const falling = read().join(" ");
const viewer = document.querySelector(".viewer");
const slider = viewer.querySelector("input[data-set='--s']");
slider.value = "1";
slider.dispatchEvent(new Event("input"));
const told = [viewer.style.getPropertyValue("--s"), viewer.querySelector("output").value];
const result = { rising, falling, told: told.join(" "), slices: viewer.dataset.slices };
document.body.dataset.result = JSON.stringify(result);
</script>
"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome")
def test_tables_sort_and_sliders_move_without_an_error(tmp_path):
    folder = write_predictions(tmp_path, [NASTY.replace("/", "-"), "b", "c"], shape=VOLUME)
    page = api.report(folder, workspace=tmp_path)
    driven = tmp_path / "driven.html"
    content = page.read_text("utf-8")
    driven.write_text(content.replace("</body>", f"{DRIVEN}</body>"), "utf-8")
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom"]
    run = subprocess.run(
        [str(BROWSER), *words, f"--user-data-dir={tmp_path / 'profile'}", driven.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in run.stderr
    found = re.search(r'data-result="([^"]*)"', run.stdout)
    assert found is not None
    result = json.loads(found[1].replace("&quot;", '"'))
    rising = [float(value) for value in result["rising"].split()]
    assert rising == sorted(rising)
    assert [float(value) for value in result["falling"].split()] == rising[::-1]
    assert result["told"].split() == ["1", result["slices"].split()[1]]

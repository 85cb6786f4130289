"""The dialog for people who would rather not type: real Qt on a display of its own."""

import json

import pytest

SCRIPT = """
import json, sys
from PyQt6.QtWidgets import QApplication
application = QApplication(["x"])
from experiment.dialog import RunForm
form = RunForm()
found = {"empty": form.said.text(), "ok": form.buttons.button(form.buttons.StandardButton.Ok).isEnabled()}
form.plan.setText(sys.argv[1])
form.bids.setText(sys.argv[2])
found["subjects"] = [form.subject.itemText(place) for place in range(form.subject.count())]
found["runs"] = [form.run.itemText(place) for place in range(form.run.count())]
form.flags["--safe"].setChecked(True)
form.trigger.setText("keyboard:t")
found["given"], found["said"] = form.read(), form.said.text()
found["ready"] = form.buttons.button(form.buttons.StandardButton.Ok).isEnabled()
form.plan.setText("nowhere")
found["wrong"], found["not ready"] = form.said.text(), not form.buttons.button(form.buttons.StandardButton.Ok).isEnabled()
print(json.dumps(found))
"""


@pytest.mark.display
def test_dialog_offers_what_the_plan_has_and_the_next_free_run(display, plan, experiment, tmp_path):
    bids = tmp_path / "bids"
    assert experiment("run", plan, "--subject", "01", "--bids", bids, "--rehearse")[0] == 0
    (tmp_path / "script.py").write_text(SCRIPT)
    shown = display.start(tmp_path / "script.py", plan, bids)
    out, err = shown.communicate(timeout=60)
    assert shown.returncode == 0, err
    found = json.loads(out)
    assert (found["empty"], found["ok"]) == ("Choose a plan folder", False)
    assert found["subjects"] == ["01", "02"]
    assert found["runs"] == ["2", "1 (recorded)"]
    assert found["said"] == "short: 2 runs, 1 recorded"
    expected = [
        "run",
        str(plan),
        "--subject",
        "01",
        "--session",
        "01",
        "--run",
        "2",
        "--bids",
        str(bids),
        "--trigger",
        "keyboard:t",
        "--safe",
    ]
    assert (found["given"], found["ready"]) == (expected, True)
    assert "nowhere" in found["wrong"]
    assert found["not ready"]

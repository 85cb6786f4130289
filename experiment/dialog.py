"""A small dialog for a run, for people at the scanner who would rather not type: choices in, the arguments of `experiment run` out."""

import contextlib
from pathlib import Path
from typing import Any

from experiment.plan_folder import PlanFolder
from experiment.recorder import RunFiles
from protocols.errors import InputError

_HINT = "Choose a plan folder"
_FLAGS = {
    "--windowed": "in a window",
    "--safe": "safe mode: ignore triggers until Return",
    "--practice": "practice",
    "--rehearse": "rehearsal without window or scanner",
}


def ask_for_run() -> list[str] | None:
    """Show the dialog; return the chosen arguments, `["--help"]` where it was closed, or None where there is no display or no Qt."""
    try:
        from PyQt6.QtWidgets import QApplication

        from experiment.screen import check_display

        check_display()
    except (ImportError, InputError):
        return None
    application = QApplication.instance() or QApplication(["experiment"])  # kept until the dialog is closed
    form = RunForm()
    chosen = form.read() if form.dialog.exec() else ["--help"]
    del application
    return chosen


class RunForm:
    """The dialog's fields. `read` gives the arguments they stand for."""

    def __init__(self) -> None:
        from PyQt6 import QtWidgets

        self.dialog = QtWidgets.QDialog()
        self.dialog.setWindowTitle("experiment run")
        self.plan, self.bids = QtWidgets.QLineEdit(), QtWidgets.QLineEdit()
        self.subject, self.session, self.run = QtWidgets.QComboBox(), QtWidgets.QComboBox(), QtWidgets.QComboBox()
        self.trigger = QtWidgets.QLineEdit()
        self.flags = {flag: QtWidgets.QCheckBox(words) for flag, words in _FLAGS.items()}
        self.said = QtWidgets.QLabel(_HINT)
        self.said.setWordWrap(True)
        self.buttons = QtWidgets.QDialogButtonBox()
        self.buttons.setStandardButtons(self.buttons.StandardButton.Ok | self.buttons.StandardButton.Cancel)
        self._lay_out(QtWidgets)
        self._connect()
        self.update_runs()

    def read(self) -> list[str]:
        """Return the arguments of `experiment run`."""
        given = ["run", self.plan.text(), "--subject", self.subject.currentText(), "--session", self.session.currentText()]
        given += ["--run", self.run.currentText().split()[0], "--bids", self.bids.text()]
        given += ["--trigger", self.trigger.text()] if self.trigger.text() else []
        return given + [flag for flag, box in self.flags.items() if box.isChecked()]

    def update_runs(self) -> None:
        """Offer the subjects, sessions and runs of the chosen plan; the next run that is not recorded comes first."""
        plan = self._read_plan()
        names = plan.names if plan else ()
        _offer(self.subject, dict.fromkeys(name.subject for name in names))
        _offer(self.session, dict.fromkeys(str(name.session) for name in names if name.subject == self.subject.currentText()))
        chosen = (self.subject.currentText(), self.session.currentText())
        mine = [name for name in names if (name.subject, str(name.session)) == chosen]
        recorded = {name.run for name in mine if self.bids.text() and RunFiles(Path(self.bids.text()), name).exist()}
        ordered = sorted(mine, key=lambda name: (name.run in recorded, name.run))
        _offer(self.run, {f"{name.run}{' (recorded)' if name.run in recorded else ''}": None for name in ordered})
        if plan:
            self.said.setText(f"{plan.protocol.title or plan.protocol.task}: {len(mine)} runs, {len(recorded)} recorded")
            self.trigger.setPlaceholderText(plan.protocol.trigger.source)
        ready = bool(mine and self.bids.text() and not self.run.currentText().endswith("(recorded)"))
        button = self.buttons.button(self.buttons.StandardButton.Ok)
        if button is not None:
            button.setEnabled(ready)

    def _read_plan(self) -> PlanFolder | None:
        if not self.plan.text():
            self.said.setText(_HINT)
            return None
        try:
            return PlanFolder.read(Path(self.plan.text()))
        except InputError as problem:
            self.said.setText(str(problem))
            return None

    def _lay_out(self, widgets: Any) -> None:
        form = widgets.QFormLayout(self.dialog)
        form.addRow("Plan", self._make_chooser(widgets, self.plan))
        form.addRow("BIDS data set", self._make_chooser(widgets, self.bids))
        for label, field in (("Subject", self.subject), ("Session", self.session), ("Run", self.run), ("Trigger", self.trigger)):
            form.addRow(label, field)
        for box in self.flags.values():
            form.addRow("", box)
        form.addRow(self.said)
        form.addRow(self.buttons)
        self.dialog.setMinimumWidth(520)

    def _make_chooser(self, widgets: Any, field: Any) -> Any:
        row, button = widgets.QHBoxLayout(), widgets.QPushButton("...")

        def choose() -> None:
            with contextlib.suppress(RuntimeError):  # the dialog was closed meanwhile
                folder = widgets.QFileDialog.getExistingDirectory(self.dialog, "Choose a folder", field.text())
                field.setText(folder or field.text())

        button.clicked.connect(choose)
        row.addWidget(field)
        row.addWidget(button)
        return row

    def _connect(self) -> None:
        for field in (self.plan, self.bids):
            field.textChanged.connect(lambda _: self.update_runs())
        for choice in (self.subject, self.session, self.run):
            choice.activated.connect(lambda _: self.update_runs())
        self.buttons.accepted.connect(self.dialog.accept)
        self.buttons.rejected.connect(self.dialog.reject)


def _offer(choice: Any, values: dict[str, None]) -> None:
    """Put `values` into a list of choices and keep what was chosen, if it is still there."""
    before = choice.currentText()
    choice.clear()
    choice.addItems(list(values))
    if before in values:
        choice.setCurrentText(before)

"""The command `analysis`: from BIDS events and BOLD to an honest answer."""

import typer

from analysis import (
    glm_verb,
    group_verb,
    hrf_verb,
    localize_verb,
    lock_verb,
    permute_verb,
    qc_verb,
    report_verb,
    rois_verb,
    shift_verb,
    simulate_verb,
    surfaces_verb,
    trials_verb,
)
from protocols.program import run_program

app = typer.Typer(
    help="Estimate responses to single images, test across subjects and images whether they drive their own ROI, and report it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("lock")(lock_verb.lock)
app.command("simulate")(simulate_verb.simulate)
app.command("qc")(qc_verb.qc)
app.command("hrf")(hrf_verb.hrf)
app.command("glm")(glm_verb.glm)
app.command("trials")(trials_verb.trials)
app.command("localize")(localize_verb.localize)
app.command("rois")(rois_verb.rois)
app.command("permute")(permute_verb.permute)
app.command("shift")(shift_verb.shift)
app.command("group")(group_verb.group)
app.command("report")(report_verb.report)
app.command("surfaces")(surfaces_verb.surfaces)


def main() -> None:
    """Run the command line."""
    run_program(app)


if __name__ == "__main__":
    main()

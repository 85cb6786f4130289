"""The command `experiment`: plan runs, check the set-up, run them at the scanner."""

import sys

import typer

from experiment import check_verb, emulate_verb, plan_verb, recover_verb, run_verb
from protocols.program import run_program

app = typer.Typer(
    help="Plan runs, check the set-up, show the images locked to the scanner, and write BIDS events as they happen.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("plan")(plan_verb.plan)
app.command("check")(check_verb.check)
app.command("run")(run_verb.run)
app.command("recover")(recover_verb.recover)
app.command("emulate-scanner")(emulate_verb.emulate_scanner)


def main() -> None:
    """Run the command line; without arguments, where there is a display, ask for a run in a dialog."""
    run_program(lambda: app(_ask()))


def _ask() -> list[str] | None:
    """Return the arguments that a person chose, or None for those of the command line."""
    if len(sys.argv) > 1 or not sys.stdin.isatty():
        return None
    from experiment.dialog import ask_for_run

    return ask_for_run()


if __name__ == "__main__":
    main()

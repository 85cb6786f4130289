"""Run `analysis` as a person does: through its command line, in this process."""

from typer.testing import CliRunner

from analysis.__main__ import app
from protocols.errors import InputError


def run_analysis(*arguments: object) -> str:
    """Run a verb and return what it printed on stdout; whatever it raises, passes."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=True)
    if isinstance(result.exception, InputError):
        raise result.exception
    if result.exit_code:
        raise AssertionError(result.output) from result.exception
    return result.stdout

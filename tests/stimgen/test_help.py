"""Every command and option explains itself, and every command shows a line to type."""

import shlex

import pytest
import typer

from stimgen.__main__ import app
from tests.stimgen.conftest import run_stimgen

GROUP = typer.main.get_command(app)
VERBS = sorted(GROUP.commands)


def test_the_first_verbs_are_there():
    assert set(VERBS) >= {"pool", "cortex", "fit", "predict", "generate", "check"}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_and_all_its_options_have_help(verb, monkeypatch):
    monkeypatch.setenv("COLUMNS", "500")
    command = GROUP.commands[verb]
    silent = [parameter.name for parameter in command.params if parameter.name != "help" and not parameter.help]
    assert silent == []
    shown = run_stimgen(verb, "--help")
    assert shown.status == 0
    assert f"Example: stimgen {verb}" in " ".join(shown.out.split())
    for parameter in command.params:
        named = parameter.opts[0] if parameter.opts[0].startswith("-") else parameter.help.split()[0]  # an argument is shown as its metavar
        assert named in shown.out


@pytest.mark.parametrize("verb", VERBS)
def test_the_example_of_a_verb_can_be_parsed_by_it(verb):
    """The line after `Example:` names this verb and only options that it has."""
    text = GROUP.commands[verb].help
    _, _, line = text.partition("Example: stimgen ")
    words = shlex.split(line.splitlines()[0])
    assert words[0] == verb
    context = GROUP.commands[verb].make_context(verb, words[1:], resilient_parsing=False)
    assert context.params


def test_without_arguments_the_verbs_are_listed():
    shown = run_stimgen()
    assert shown.status == 2
    assert all(verb in shown.out + shown.err for verb in VERBS)


@pytest.mark.parametrize(
    "words", [("unknown",), ("pool",), ("pool", "--out"), ("pool", "--out", "x", "--count", "one"), ("check", "a", "b")]
)
def test_wrong_usage_has_status_2(words):
    shown = run_stimgen(*words)
    assert shown.status == 2
    assert "Error" in shown.err

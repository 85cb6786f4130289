"""Every command and option explains itself, and every command shows a line to type."""

import shlex

import pytest
import typer

from stimgen.__main__ import app
from tests.stimgen.conftest import run_stimgen

GROUP = typer.main.get_command(app)


def list_verbs(group, before=()):
    """Return every command by its words; a group of commands such as `import` is named and gone into."""
    found = {}
    for name, command in group.commands.items():
        words = (*before, name)
        found[" ".join(words)] = command
        found |= list_verbs(command, words) if hasattr(command, "commands") else {}
    return found


COMMANDS = list_verbs(GROUP)
VERBS = sorted(COMMANDS)


def test_the_first_verbs_are_there():
    assert set(VERBS) >= {"pool", "cortex", "fit", "predict", "personalize", "generate", "check", "import nsd"}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_and_all_its_options_have_help(verb, monkeypatch):
    monkeypatch.setenv("COLUMNS", "500")
    command = COMMANDS[verb]
    silent = [parameter.name for parameter in command.params if parameter.name != "help" and not parameter.help]
    assert silent == []
    shown = run_stimgen(*verb.split(), "--help")
    assert shown.status == 0
    assert f"Example: stimgen {verb}" in " ".join(shown.out.split())
    for parameter in command.params:
        named = parameter.opts[0] if parameter.opts[0].startswith("-") else parameter.help.split()[0]  # an argument is shown as its metavar
        assert named in shown.out


@pytest.mark.parametrize("verb", VERBS)
def test_the_example_of_a_verb_can_be_parsed_by_it(verb):
    """The line after `Example:` names this verb and only options that it has."""
    _, _, line = COMMANDS[verb].help.partition("Example: stimgen ")
    words = shlex.split(line.splitlines()[0])
    named = next(count for count in range(len(words), 0, -1) if " ".join(words[:count]) in COMMANDS)
    typed = " ".join(words[:named])
    assert typed.startswith(verb)  # a group shows one of its commands
    context = COMMANDS[typed].make_context(typed, words[named:], resilient_parsing=False)
    assert context.params


def test_without_arguments_the_verbs_are_listed():
    shown = run_stimgen()
    assert shown.status == 2
    assert all(verb in shown.out + shown.err for verb in GROUP.commands)


@pytest.mark.parametrize(
    "words", [("unknown",), ("pool",), ("pool", "--out"), ("pool", "--out", "x", "--count", "one"), ("check", "a", "b")]
)
def test_wrong_usage_has_status_2(words):
    shown = run_stimgen(*words)
    assert shown.status == 2
    assert "Error" in shown.err

"""README and Makefile name only what there is: commands, options, make targets, folders."""

import re
import shlex
from pathlib import Path

import click
import pytest
import typer

from analysis.__main__ import app as analysis_app
from experiment.__main__ import app as experiment_app
from stimgen.__main__ import app as stimgen_app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRAMS = {"stimgen": stimgen_app, "experiment": experiment_app, "analysis": analysis_app}
SHOWN = [line.split(" #")[0].strip() for line in README.splitlines() if re.match(r" {4}(stimgen|experiment|analysis) \w", line)]
SHOWN = [line for line in SHOWN if "─►" not in line]


def _verbs(program: str) -> dict[str, click.Command]:
    group = typer.main.get_command(PROGRAMS[program])
    assert hasattr(group, "commands")
    return dict(group.commands)


def test_readme_shows_at_least_ten_commands() -> None:
    assert len(SHOWN) >= 10


@pytest.mark.parametrize("line", SHOWN)
def test_a_command_in_readme_parses_as_it_stands(line: str) -> None:
    program, verb, *arguments = shlex.split(line)
    command = _verbs(program)[verb]
    if hasattr(command, "commands"):  # a verb of verbs: stimgen import folder
        verb, *arguments = arguments
        command = command.commands[verb]
    context = command.make_context(verb, arguments)
    assert context.args == []


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_verb_is_in_readme_or_help_and_has_a_worked_example(program: str) -> None:
    for name, command in _verbs(program).items():
        assert command.help is not None
        assert f"Example: {program} {name}" in " ".join(command.help.split()), f"{program} {name} has no worked example"


def test_every_make_target_in_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    named = set(re.findall(r"(?:`| {4})make ([a-z-]+)", README))
    assert named
    assert named <= targets


def test_the_map_names_every_folder() -> None:
    folders = {path.parts[0] for path in (path.relative_to(ROOT) for path in ROOT.glob("*/*.py"))} | {"data"}
    named = set(re.findall(r"^\| `(\w+)/` \|", README, flags=re.MULTILINE))
    assert named == folders


def test_examples_named_in_readme_exist() -> None:
    for name in re.findall(r"(?:tests|protocols|data)/[\w/.]+\.(?:toml|md|tsv|sh)", README):
        assert (ROOT / name).is_file(), name

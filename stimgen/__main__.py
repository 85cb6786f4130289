"""The command `stimgen`: encoding models and the images made with them."""

import typer

from protocols.program import run_program
from stimgen import (
    check_verb,
    cortex_verbs,
    fit_verb,
    generate_verb,
    import_verbs,
    merge_verbs,
    personalize_verb,
    pool_verb,
    predict_verb,
    reproduce_verb,
    similarity_verb,
    sweep_verb,
    view_verb,
)

app = typer.Typer(
    help="Fit encoding models from images to voxel responses, and make images that drive chosen voxels, ROIs or contrasts.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("pool")(pool_verb.pool)
app.command("cortex")(cortex_verbs.cortex)
app.command("fit")(fit_verb.fit)
app.command("predict")(predict_verb.predict)
app.command("personalize")(personalize_verb.personalize)
app.command("generate")(generate_verb.generate)
app.command("sweep")(sweep_verb.sweep)
app.command("check")(check_verb.check)
app.command("reproduce")(reproduce_verb.reproduce)
app.command("merge")(merge_verbs.merge)
app.command("select")(merge_verbs.select)
app.command("similarity")(similarity_verb.similarity)
app.command("view")(view_verb.view)
app.add_typer(import_verbs.import_app, name="import")


def main() -> None:
    """Run the command line."""
    run_program(app)


if __name__ == "__main__":
    main()

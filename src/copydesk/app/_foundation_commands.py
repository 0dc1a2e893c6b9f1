"""Commands about the foundation: the base that all clients' adapters are trained on."""

from pathlib import Path
from typing import Annotated

import typer

from copydesk import desk
from copydesk.app._options import AsJson, InWorkspace, Settings, fields_of, pairs
from copydesk.app._output import emit_json
from copydesk.app._progress import ProgressView, StopRequest

commands = typer.Typer()
foundation_app = typer.Typer(help="The shared base, tuned on your corpus.", no_args_is_help=True)
commands.add_typer(foundation_app, name="foundation")


@foundation_app.callback()
def foundation() -> None:
    """The shared base, tuned on your corpus."""


@foundation_app.command("train")
def foundation_train(
    sources: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            help="A client's name, whose newest dataset is used. Repeatable; by default all.",
            metavar="CORPUS",
        ),
    ] = None,
    mix: Annotated[
        float, typer.Option(help="Share of general chats among the tokens, against forgetting.")
    ] = 0.1,
    general: Annotated[
        Path | None,
        typer.Option(help="General chats of your own to mix in, as JSON lines.", metavar="FILE"),
    ] = None,
    most_forgetting: Annotated[
        float, typer.Option(help="Gate: most that the loss on general chats may rise, in nats.")
    ] = 0.1,
    name: Annotated[str | None, typer.Option(help="Of the new base.")] = None,
    settings: Settings = None,
    as_json: AsJson = False,
    workspace: InWorkspace = None,
) -> None:
    """Fully fine-tune the base on pages with a recorded right to train, as a new base.

    It is kept only when it passes its gates: it learned the pages, and forgot little.

    Example: copydesk foundation train --from domain --mix 0.2 --set epochs=1
    """
    from copydesk.app._tables import show_foundation

    stop = StopRequest()
    with (
        desk.open_workspace(workspace) as opened,
        stop.listening(),
        ProgressView() as view,
    ):
        result = opened.train_foundation(
            sources=sources or None,
            name=name,
            mix=mix,
            general=general,
            most_forgetting=most_forgetting,
            settings=pairs(settings or [], "--set"),
            listener=view,
            should_stop=stop,
        )
    if as_json:
        emit_json(fields_of(result))
    else:
        show_foundation(result)
    if not result.registered:
        raise typer.Exit(1)

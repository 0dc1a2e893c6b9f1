"""Commands about the server's keys."""

from typing import Annotated, Any

import typer

from copydesk import desk
from copydesk.app._options import AsJson, InWorkspace, fields_of
from copydesk.app._output import emit_json, err, out
from copydesk.desk import IssuedKey, Key

commands = typer.Typer()
key_app = typer.Typer(help="Keys of the server: see copydesk serve.", no_args_is_help=True)
commands.add_typer(key_app, name="key")


@key_app.command("add")
def key_add(
    client: Annotated[
        list[str] | None, typer.Option(help="Whose voice it may use. Repeatable.")
    ] = None,
    all_clients: Annotated[
        bool, typer.Option("--all-clients", help="Every client, those added later too.")
    ] = False,
    base: Annotated[bool, typer.Option("--base", help="The base without an adapter too.")] = False,
    admin: Annotated[
        bool, typer.Option("--admin", help="The admin port: metrics and state.")
    ] = False,
    rate: Annotated[int | None, typer.Option(help="Most requests a minute.")] = None,
    quota: Annotated[int | None, typer.Option(help="Most tokens a calendar month (UTC).")] = None,
    label: Annotated[str, typer.Option(help="A note for you.")] = "",
    as_json: AsJson = False,
    workspace: InWorkspace = None,
) -> None:
    """Make a key. It is shown once: only its hash is kept.

    Example: copydesk key add --client acme --rate 60 --quota 1000000
    """
    with desk.open_workspace(workspace) as opened:
        issued = opened.server_keys.add(
            clients=client or (),
            every_client=all_clients,
            base=base,
            admin=admin,
            rate=rate,
            quota=quota,
            label=label,
        )
    _show_issued(issued, as_json=as_json)


@key_app.command("list")
def key_list(as_json: AsJson = False, workspace: InWorkspace = None) -> None:
    """List keys: what each allows and used in this month.

    Example: copydesk key list
    """
    with desk.open_workspace(workspace) as opened:
        keys = opened.server_keys.all()
    if as_json:
        emit_json({"keys": keys})
    for key in () if as_json else keys:
        out.print(_line(key), markup=False, soft_wrap=True)
    if not keys and not as_json:
        out.print("No key yet. Make one with: copydesk key add --client NAME")


@key_app.command("rotate")
def key_rotate(
    key: Annotated[str, typer.Argument(metavar="ID")],
    as_json: AsJson = False,
    workspace: InWorkspace = None,
) -> None:
    """Give a key a new secret; the old one is refused at once.

    Example: copydesk key rotate 0f3a92b1c4d5
    """
    with desk.open_workspace(workspace) as opened:
        issued = opened.server_keys.rotate(key)
    _show_issued(issued, as_json=as_json)


@key_app.command("revoke")
def key_revoke(
    key: Annotated[str, typer.Argument(metavar="ID")],
    as_json: AsJson = False,
    workspace: InWorkspace = None,
) -> None:
    """End a key; the next request with it is refused.

    Example: copydesk key revoke 0f3a92b1c4d5
    """
    with desk.open_workspace(workspace) as opened:
        revoked = opened.server_keys.revoke(key)
    if as_json:
        emit_json({"key": revoked})
    else:
        out.print(f"Revoked {revoked.id}.")


def _show_issued(issued: IssuedKey, *, as_json: bool) -> None:
    if as_json:
        shown: dict[str, Any] = fields_of(issued.key)
        emit_json({"key": shown, "secret": issued.secret})
        return
    out.print(issued.secret, markup=False, soft_wrap=True)
    err.print("Keep it now: it is not shown again.")


def _line(key: Key) -> str:
    allowed = ["every client"] if key.every_client else list(key.clients)
    allowed += [word for word, has in (("base", key.base), ("admin", key.admin)) if has]
    rate = f"{key.rate} a minute" if key.rate else "any rate"
    quota = f"of {key.quota:,}" if key.quota else "without a quota"
    parts = [
        key.id,
        key.label,
        ", ".join(allowed) or "nothing: its clients are gone",
        rate,
        f"{key.tokens:,} tokens this month {quota}",
        f"revoked {key.revoked}" if key.revoked else "",
    ]
    return "  ".join(part for part in parts if part)

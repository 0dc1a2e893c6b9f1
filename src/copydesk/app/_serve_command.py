"""The command that serves: an engine, the two servers before it, and their log."""

import contextlib
import logging
import os
import signal
import sys
from typing import Annotated, Literal

import typer

from copydesk import desk
from copydesk.app._options import AsJson, InWorkspace
from copydesk.app._output import emit_json

commands = typer.Typer()
_LOCAL = "127.0.0.1"


@commands.command()
def serve(
    host: Annotated[str, typer.Option(help="Where to listen; others need a key.")] = _LOCAL,
    port: Annotated[int, typer.Option(help="0 is any that is free.", min=0, max=65535)] = 8000,
    admin_port: Annotated[
        int | None,
        typer.Option(
            help="Metrics and state, on this machine alone; --port + 1 by default.",
            min=0,
            max=65535,
        ),
    ] = None,
    engine: Annotated[Literal["embedded", "vllm"], typer.Option()] = "embedded",
    max_running: Annotated[int, typer.Option(help="Answers written at once.", min=1)] = 16,
    max_waiting: Annotated[int, typer.Option(help="Requests that may wait.", min=1)] = 256,
    max_adapters: Annotated[int, typer.Option(help="Adapters in memory.", min=1)] = 64,
    quantise: Annotated[
        Literal["int8", "int4"] | None, typer.Option(help="Hold the base in fewer bits.")
    ] = None,
    merged_copies: Annotated[
        int,
        typer.Option(
            help="Copies of the base, each with one client's adapter merged in, for clients that "
            "have the engine to themselves: faster by about a tenth, for the base's memory again.",
            min=0,
        ),
    ] = 0,
    dtype: Annotated[
        Literal["auto", "bfloat16", "float32"], typer.Option(help="Of the embedded engine.")
    ] = "auto",
    max_tokens: Annotated[int, typer.Option(help="Of one answer.", min=1)] = 4096,
    request_seconds: Annotated[
        float, typer.Option(help="Longest time of a request.", min=0.1)
    ] = 600.0,
    drain_seconds: Annotated[
        float, typer.Option(help="For running requests after SIGTERM.", min=0)
    ] = 30.0,
    log_text: Annotated[
        bool, typer.Option("--log-text", help="Log prompts and answers too.")
    ] = False,
    vllm_url: Annotated[
        str | None, typer.Option(help="A vLLM that runs; without it one is started here.")
    ] = None,
    vllm_model: Annotated[str | None, typer.Option(help="What that vLLM calls the base.")] = None,
    vllm_arg: Annotated[
        list[str] | None, typer.Option(help="For the vLLM that is started. Repeatable.")
    ] = None,
    as_json: AsJson = False,
    workspace: InWorkspace = None,
) -> None:
    """Serve every client from one base, as OpenAI's interface: `model` names the client.

    What is promoted answers from the next request on. Without any key the server answers this
    machine alone; metrics and state are on a port of their own, which never leaves it.

    \b
    Three deployments:
    1. For yourself, on this machine, without keys:
         copydesk serve
    2. For an office, behind a proxy with TLS, a key for each site:
         copydesk key add --client acme --rate 60 --quota 2000000
         copydesk serve --host 0.0.0.0 --port 8000
    3. On a GPU, by a vLLM that shares this workspace's disk (its key in VLLM_API_KEY):
         copydesk serve --engine vllm --vllm-url http://127.0.0.1:9000 --vllm-model base

    Example: copydesk serve --port 8000
    """
    from copydesk.app.api import Limits, log_to, open_ports, run_server, say

    with desk.open_workspace(workspace) as opened, contextlib.ExitStack() as ending:
        ports = open_ports(
            host, port, port + 1 if admin_port is None and port else admin_port or 0,
            has_keys=opened.server_keys.ever_made(),
        )  # fmt: skip
        log_to(sys.stderr)
        signal.signal(signal.SIGTERM, _end_while_starting)
        say("starting", workspace=str(opened.root), engine=engine, open=not ports.has_keys)
        if ports.has_keys and not opened.server_keys.usable():
            say("no_usable_key", level=logging.WARNING, todo="Make one with: copydesk key add")
        if engine == "embedded":
            serving = opened.serve_embedded(
                {
                    "max_running": max_running,
                    "max_waiting": max_waiting,
                    "max_adapters": max(max_adapters, max_running),
                    "quantise": quantise,
                    "merged_copies": merged_copies,
                },
                _tell,
                dtype=dtype,
            )
        else:
            wish = desk.VllmWish(
                url=vllm_url,
                model=vllm_model,
                api_key=os.environ.get("VLLM_API_KEY", ""),
                arguments=tuple(vllm_arg or ()),
                max_adapters=max_adapters,
            )
            serving = opened.serve_vllm(wish, _tell)
        ending.callback(serving.engine.stop)

        def show() -> None:
            url, admin_url, base = ports.url, ports.admin_url, serving.base_name
            say("ready", url=url, admin_url=admin_url, base=base)
            if as_json:
                emit_json({"url": url, "admin_url": admin_url, "base": base, "engine": engine})
                sys.stdout.flush()

        run_server(
            serving,
            opened.root,
            ports,
            limits=Limits(max_tokens=max_tokens, seconds=request_seconds),
            drain_seconds=drain_seconds,
            log_text=log_text,
            on_ready=show,
        )


def _tell(event: str, why: str) -> None:
    from copydesk.app.api import say

    level = logging.INFO if event == "engine_started" else logging.ERROR
    if why:
        say(event, level=level, why=why)
    else:
        say(event, level=level)


def _end_while_starting(*_: object) -> None:
    raise KeyboardInterrupt

"""The demo: the main job on three invented clients that ship with Copydesk."""

from collections.abc import Callable
from importlib import resources
from pathlib import Path

from copydesk import desk
from copydesk.app._comparison_tables import show_comparison
from copydesk.app._output import out
from copydesk.app._reporting import write_report
from copydesk.app._tables import show_curation, show_training, show_written
from copydesk.desk import Workspace
from copydesk.records import Listener

SAMPLES = ("fernwick", "kestrel", "moonmilk")
DEMO_SETTINGS = {"epochs": 1}
"""One pass over each client's pages: enough to see the methods apart in minutes on two cores."""


def run_demo(
    folder: Path, *, listener: Listener, should_stop: Callable[[], bool]
) -> tuple[Workspace, Path]:
    """Run what is not done yet in `folder`; a demo that was cut off goes on.

    Returns:
        The workspace and the report's path.
    """
    fresh = not (folder / "copydesk.toml").exists()
    workspace = desk.init(folder) if fresh else desk.open_workspace(folder)
    _headline("1/6  Base model")
    info = workspace.pull_base(listener=listener)
    out.print(f"{info.name} is ready ({info.path})", soft_wrap=True)
    samples = Path(str(resources.files("copydesk"))) / "samples"
    _headline("2/6  Three clients and their pages")
    _add_clients(workspace, samples)
    _headline("3/6  An adapter for each client")
    _train(workspace, listener, should_stop)
    _headline("4/6  LoRA, full fine-tuning and the untuned base on held-out pages")
    _compare(workspace, listener, should_stop)
    _headline("5/6  A draft for each client")
    _write(workspace, samples)
    _headline("6/6  The report")
    return workspace, write_report(workspace)


def _headline(text: str) -> None:
    out.print(f"\n[bold]{text}[/]")


def _add_clients(workspace: Workspace, samples: Path) -> None:
    known = {client.name: client for client in workspace.clients()}
    for name in SAMPLES:
        if name not in known:
            workspace.add_client(name, style_guide=samples / name / "style_guide.toml")
        if name not in known or not known[name].documents:
            show_curation(workspace.curate(name, [samples / name / "posts.jsonl"]))


def _train(workspace: Workspace, listener: Listener, should_stop: Callable[[], bool]) -> None:
    waiting = [client.name for client in workspace.clients() if not client.versions]
    result = workspace.train(
        waiting, settings=DEMO_SETTINGS, listener=listener, should_stop=should_stop
    )
    show_training(result)
    for failed in result.failed:
        raise failed.error


def _compare(workspace: Workspace, listener: Listener, should_stop: Callable[[], bool]) -> None:
    done = {comparison.client for comparison in workspace.comparisons()}
    for name in SAMPLES:
        if name not in done:
            workspace.compare(
                name, settings=DEMO_SETTINGS, listener=listener, should_stop=should_stop
            )
    for comparison in workspace.comparisons():
        show_comparison(comparison, advise=False)


def _write(workspace: Workspace, samples: Path) -> None:
    done = {draft.client for draft in workspace.drafts()}
    for name in SAMPLES:
        if name not in done:
            out.print(f"\n[bold]{name}[/]")
            brief = samples / name / "brief.yaml"
            for written in workspace.write(
                name, [brief], on_text=lambda text: out.print(text, end="", markup=False)
            ):
                show_written(written)

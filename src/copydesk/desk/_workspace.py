"""The workspace: opened, asked to do something, closed."""

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from copydesk.content import (
    TrainingIndex,
    check,
    make_brief,
    read_brief,
    read_draft,
)
from copydesk.corpus import (
    CurateSettings,
    curate,
    read_right,
    read_style_guide,
    write_material,
    write_rejections,
)
from copydesk.desk._bases import pull_base
from copydesk.desk._config import CONFIG_FILE, STARTER, Config, read_config
from copydesk.desk._drafts import read_drafts, save_draft
from copydesk.desk._place import (
    DATASETS,
    Place,
    client_material,
    client_style_guide,
    client_training_index,
)
from copydesk.desk._results import Checked, ClientInfo, Curation, Training, Written
from copydesk.desk._sources import (
    ImportedSearches,
    gather_sources,
    import_searches,
    search,
    search_pages,
    with_right,
)
from copydesk.errors import AlreadyThere, InvalidInput, UnknownName
from copydesk.records import (
    Brief,
    Comparison,
    Draft,
    Listener,
    Material,
    StyleGuide,
    ignore_progress,
)
from copydesk.registry import versions
from copydesk.store import Artifact, Catalogue, held, json_digest, replace_bytes, storage_errors

if TYPE_CHECKING:
    from copydesk.corpus.search import SearchPage
    from copydesk.corpus.web import WebSettings
    from copydesk.models import BaseInfo

PathLike = str | os.PathLike[str]


def init(path: PathLike = ".") -> "Workspace":
    """Make a workspace in a folder, which may hold other things, and open it.

    Raises:
        AlreadyThere: the folder is a workspace already.
    """
    root = Path(path).expanduser()
    if (root / CONFIG_FILE).exists():
        raise AlreadyThere(
            "There is a workspace here already", where=str(root), todo="Use it, or name another."
        )
    if root.exists() and not root.is_dir():
        raise InvalidInput("The workspace must be a folder", where=str(root))
    replace_bytes(root / CONFIG_FILE, STARTER.encode())
    return Workspace(root)


def open_workspace(path: PathLike | None = None) -> "Workspace":
    """Open a workspace: the given folder, or the nearest one at or above the current folder.

    Raises:
        UnknownName: there is none.
        InvalidInput: its copydesk.toml cannot be used.
    """
    start = Path(path).expanduser() if path is not None else Path.cwd()
    tried = [start] if path is not None else [start, *start.resolve().parents]
    for folder in tried:
        if (folder / CONFIG_FILE).is_file():
            return Workspace(folder)
    raise UnknownName(
        "There is no workspace here", where=str(start), todo="Make one with: copydesk init DIR"
    )


class Workspace:
    """A folder with `copydesk.toml`, the catalogue and the artifacts. Usable in a `with`."""

    def __init__(self, root: Path) -> None:
        """Open an existing workspace; `copydesk.open` finds it first."""
        self.root = root.resolve()
        self.config: Config = read_config(self.root / CONFIG_FILE)
        self.catalogue = Catalogue(self.root)
        self._place = Place(root=self.root, config=self.config, catalogue=self.catalogue)

    def __enter__(self) -> "Workspace":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the catalogue."""
        self.catalogue.close()

    # Clients

    def add_client(self, name: str, style_guide: PathLike | None = None) -> ClientInfo:
        """Add a client, with a copy of its style guide (TOML, Markdown or text).

        Raises:
            InvalidInput: the name or the guide cannot be used; nothing is added.
            AlreadyThere: there is a client of that name.
        """
        guide = Path(style_guide).expanduser() if style_guide is not None else None
        if guide is not None:
            read_style_guide(guide)
        self.catalogue.add_client(name)
        if guide is not None:
            target = self.client_folder(name) / f"style_guide{guide.suffix.lower()}"
            replace_bytes(target, guide.read_bytes())
        return self._client_info(name)

    def clients(self) -> tuple[ClientInfo, ...]:
        """All clients, by name."""
        return tuple(self._client_info(row.name) for row in self.catalogue.clients())

    def delete_client(self, name: str) -> None:
        """Remove a client and everything made from its pages.

        Raises:
            UnknownName: there is none of that name.
            InUse: it is being trained.
        """
        self.catalogue.client(name)
        with held(self._place.locks, name, doing="deletes it", forget=True):
            # Its name goes last: cut off before, the client is still there to be deleted again,
            # and nothing is listed that is gone.
            self.catalogue.forget_artifacts(name)
            self.report_path.unlink(missing_ok=True)
            for folder in (
                self.client_folder(name),
                self._place.runs_folder(name),
                self._place.cache_folder(name),
            ):
                _remove(folder)
            for shelf in (self.root / "artifacts").glob("*"):
                _remove(shelf / name)
            self.catalogue.remove_client(name)

    def style_guide(self, client: str) -> StyleGuide:
        """The client's style guide; an empty one where none was given."""
        return client_style_guide(self._place, client)

    @property
    def report_path(self) -> Path:
        """Where the report of all clients lies. It quotes drafts, so no deletion leaves it."""
        return self.root / "report.html"

    def client_folder(self, name: str) -> Path:
        """Where a client's style guide and drafts lie."""
        return self._place.client_folder(name)

    # Pages

    def curate(
        self,
        client: str,
        sources: Sequence[PathLike],
        *,
        columns: Mapping[str, str] | None = None,
        right: str | None = None,
        web: "WebSettings | None" = None,
        listener: Listener = ignore_progress,
    ) -> Curation:
        """Read, clean, deduplicate and split a client's pages and chats into a new dataset.

        Args:
            client: whose pages they are.
            sources: JSONL, JSON, CSV, XLSX, Markdown, HTML, DOCX and WordPress (WXR) files, folders
                of them, or addresses of a site, section, page, sitemap or feed. Records of JSON may
                be ready-made examples: `messages`, `prompt` and `completion`, Alpaca, ShareGPT, or
                plain `text`.
            columns: our field -> the column of a CSV or XLSX that holds it.
            right: by what right others than the client may be trained on the pages: `owned`,
                `licence:NAME` or `consent:NOTE`. It is recorded with each page. None: only the
                client's own models.
            web: limits of a crawl, `corpus.web.WebSettings`.
            listener: receives progress.

        Raises:
            UnknownName: no such client.
            InvalidInput: a source cannot be read at all, or the right is none.
            Unreachable: a site does not answer.
            NotEnoughText: too few pages are left to train on and hold some out.
        """
        self.catalogue.client(client)
        settings = CurateSettings(
            heldout_share=self.config.heldout_share,
            split=self.config.split,
            seed=self.config.seed,
        )
        if right is not None:
            right = read_right(right)
        gathered = gather_sources(self._place, client, sources, web=web, listener=listener)
        found = with_right(
            curate(gathered, client=client, settings=settings, columns=columns, listener=listener),
            right,
        )
        inputs = {
            "pages": json_digest(sorted(page.sha256 for page in (*found.train, *found.heldout)))
        }

        def fill(artifact: Artifact) -> None:
            write_material(artifact.path / "train.jsonl", found.train)
            write_material(artifact.path / "heldout.jsonl", found.heldout)
            write_rejections(artifact.path / "rejected.jsonl", found.rejected)
            artifact.facts.update(
                train=len(found.train),
                heldout=len(found.heldout),
                split=found.split,
                forms=found.forms,
            )

        entry = self.catalogue.make(kind=DATASETS, client=client, inputs=inputs, fill=fill)
        return Curation(
            client=client,
            dataset=f"{client}/{entry.number}",
            path=entry.path,
            kept=len(found.train) + len(found.heldout),
            train=len(found.train),
            heldout=len(found.heldout),
            split=found.split,
            forms=found.forms,
            rejected=found.rejected,
        )

    def documents(self, client: str) -> tuple[tuple[Material, ...], tuple[Material, ...]]:
        """Training and held-out pages and chats of the client's newest dataset.

        Raises:
            UnknownName: no such client, or none of its pages were curated yet.
        """
        return client_material(self._place, client)

    # Search results: for briefs, coverage and originality, never a client's training data.

    def import_searches(self, files: Sequence[PathLike]) -> ImportedSearches:
        """Keep exports of search results, of whichever provider.

        Raises:
            InvalidInput: a file holds no search-result page; nothing is kept.
        """
        return import_searches(self._place, [Path(file).expanduser() for file in files])

    def search(
        self,
        queries: Sequence[str],
        *,
        provider: str = "searxng",
        language: str = "en",
        country: str = "us",
        address: str | None = None,
    ) -> ImportedSearches:
        """Ask a search provider, whose key is in the environment, and keep what it answers.

        Raises:
            InvalidInput: the provider is not known, or its key is missing or refused.
            Unreachable: it does not answer.
        """
        return search(
            self._place,
            queries,
            provider=provider,
            language=language,
            country=country,
            address=address,
        )

    def search_pages(self) -> "tuple[SearchPage, ...]":
        """All search-result pages that were kept here, oldest import first."""
        return search_pages(self._place)

    # Models: these import torch, which takes seconds; the verbs above do not wait for it.

    def pull_base(self, *, listener: Listener = ignore_progress) -> "BaseInfo":
        """Make the workspace's base available. See `pull_base`."""
        return pull_base(self.config.base, listener=listener)

    def train(
        self,
        clients: Sequence[str] | None,
        *,
        method: str = "auto",
        settings: Mapping[str, Any] | None = None,
        stale: bool = False,
        memory: int | None = None,
        listener: Listener = ignore_progress,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Training:
        """Train a version for each client. A run that was cut off goes on from its checkpoint.

        Several clients by `lora` train in one pass over one base, each as it would alone.

        Args:
            clients: names; each has pages. None is every client that has.
            method: one of `models.METHODS`, or `auto`: `lora` until comparisons say otherwise.
            settings: over the workspace's, the client's and the method's defaults, e.g.
                `{"lora_r": 8}`, or what `copydesk.read_recipe` gives, which names the method too.
            stale: only clients whose newest adapter is bound to another base than the
                workspace's. Their new versions are listed all at once, when each has lowered the
                loss on its own held-out pages, or not at all.
            memory: bytes that the process may take; clients that do not fit at once wait.
            listener: receives progress.
            should_stop: asked after every step; true writes a checkpoint and ends.

        Raises:
            UnknownName: an unknown client, method or base, before anything is trained.
            InvalidInput: a setting is unknown or out of range, or `memory` is too little.

        What goes wrong with one client is in the result's `failed`; the others go on.
        """
        from copydesk.desk._training import train_clients

        return train_clients(
            self._place,
            clients,
            method=method,
            settings=settings or {},
            stale=stale,
            memory=memory,
            listener=listener,
            should_stop=should_stop,
        )

    def compare(
        self,
        client: str,
        *,
        methods: Sequence[str] = ("lora", "full"),
        settings: Mapping[str, Any] | None = None,
        listener: Listener = ignore_progress,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> Comparison:
        """Measure methods on the client's held-out pages, beside the base untuned and prompted.

        The newest version is used for its method when it was trained by the same recipe. The
        result is kept in the workspace.
        """
        from copydesk.desk._comparing import compare_methods

        return compare_methods(
            self._place,
            client,
            methods=methods,
            settings=settings or {},
            listener=listener,
            should_stop=should_stop,
        )

    def comparisons(self) -> tuple[Comparison, ...]:
        """The newest comparison of each client that has one."""
        from copydesk.desk._comparing import newest_comparisons

        return newest_comparisons(self._place)

    # Drafts

    def write(
        self,
        client: str,
        briefs: Iterable[Brief | PathLike],
        *,
        temperature: float = 0.7,
        top_p: float = 0.9,
        seed: int = 0,
        on_text: Callable[[str], None] | None = None,
    ) -> tuple[Written, ...]:
        """Write a checked draft for each brief, by `client` or `client@n`; drafts are kept.

        Args:
            client: the newest version speaks, or the one named.
            briefs: briefs, or YAML files of briefs.
            temperature: 0 is greedy.
            top_p: share of the probability that tokens are drawn from.
            seed: the same brief, version, settings and seed give the same draft.
            on_text: receives the text as it is made.
        """
        from copydesk.desk._writing import write_drafts

        read = [brief if isinstance(brief, Brief) else read_brief(Path(brief)) for brief in briefs]
        drafts = write_drafts(
            self._place,
            client,
            read,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            on_text=on_text,
        )
        return tuple(
            Written(draft=draft, path=save_draft(self._drafts_folder(draft.client), draft))
            for draft in drafts
        )

    def drafts(self) -> tuple[Draft, ...]:
        """All drafts that were written here, by client, oldest first."""
        return tuple(
            draft
            for row in self.catalogue.clients()
            for draft in read_drafts(self._drafts_folder(row.name))
        )

    def check(
        self, client: str, paths: Sequence[PathLike], *, brief: Brief | None = None
    ) -> tuple[Checked, ...]:
        """Check draft files against the client's style guide and training pages.

        A file's front matter may name `title`, `keyword` and `format`; they make a brief where none
        is given.
        """
        guide = self.style_guide(client)
        index = self.training_index(client)
        checked: list[Checked] = []
        for path in map(Path, paths):
            file = read_draft(path)
            against = brief or make_brief(
                title=file.title or path.stem,
                keyword=file.keyword,
                format=file.format or "blog",
            )
            checked.append(
                Checked(
                    path=path,
                    findings=check(
                        file.text, title=file.title, brief=against, guide=guide, index=index
                    ),
                )
            )
        return tuple(checked)

    def training_index(self, client: str) -> TrainingIndex | None:
        """The client's training pages, indexed for verbatim runs; None before any were curated."""
        return client_training_index(self._place, client)

    def export(self, ref: str, *, to: str, folder: PathLike) -> Path:
        """Copy a version out: `peft`, its adapter's folder; `merged`, a base of its own.

        Raises:
            UnknownName: no such version.
            InvalidInput: it cannot leave in that form.
            AlreadyThere: the folder exists.
        """
        from copydesk.desk._models import export_version

        return export_version(self._place, ref, to=to, folder=Path(folder).expanduser())

    def _drafts_folder(self, client: str) -> Path:
        return self.client_folder(client) / "drafts"

    def _client_info(self, name: str) -> ClientInfo:
        entry = self.catalogue.latest(DATASETS, name)
        counted = sum(map(len, self.documents(name))) if entry else 0
        return ClientInfo(
            name=name,
            documents=counted,
            versions=len(versions(self.catalogue, name)),
            style_guide=any(self.client_folder(name).glob("style_guide.*")),
        )


def _remove(folder: Path) -> None:
    if folder.exists():
        with storage_errors(folder):
            shutil.rmtree(folder)

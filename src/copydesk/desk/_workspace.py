"""The workspace: opened, asked to do something, closed."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from copydesk.content import FORMATS, TrainingIndex, read_briefs
from copydesk.corpus import read_style_guide
from copydesk.desk._config import CONFIG_FILE, STARTER, Config, read_config
from copydesk.desk._curating import curate_client
from copydesk.desk._drafts import read_drafts, save_as, save_draft
from copydesk.desk._erasing import Receipt, erase_client, pending_erasures
from copydesk.desk._keys import ServerKeys
from copydesk.desk._model_verbs import ModelVerbs
from copydesk.desk._place import (
    DATASETS,
    PathLike,
    Place,
    client_material,
    client_style_guide,
    client_training_index,
)
from copydesk.desk._promoting import client_history
from copydesk.desk._registry_verbs import RegistryVerbs
from copydesk.desk._results import Checked, ClientInfo, Curation, Written
from copydesk.desk._sources import (
    ImportedSearches,
    import_searches,
    search,
    search_pages,
)
from copydesk.desk._using import using
from copydesk.desk._voice import client_voice
from copydesk.desk._withdrawing import Mark, Withdrawn, marks, withdraw
from copydesk.errors import AlreadyThere, InvalidInput, UnknownName
from copydesk.evaluate import VoiceModel
from copydesk.records import (
    Brief,
    Completer,
    Draft,
    Listener,
    Material,
    StyleGuide,
    ignore_progress,
)
from copydesk.registry import Version
from copydesk.store import Catalogue, replace_bytes

if TYPE_CHECKING:
    from copydesk.corpus.search import SearchPage
    from copydesk.corpus.web import WebSettings


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
    found = find_workspace(path)
    if found is not None:
        return Workspace(found)
    start = Path(path).expanduser() if path is not None else Path.cwd()
    raise UnknownName(
        "There is no workspace here", where=str(start), todo="Make one with: copydesk init DIR"
    )


def find_workspace(path: PathLike | None = None) -> Path | None:
    """The folder of the workspace at `path`, or of the nearest one at or above the current folder;
    None where there is none."""
    start = Path(path).expanduser() if path is not None else Path.cwd()
    tried = [start] if path is not None else [start, *start.resolve().parents]
    return next((folder for folder in tried if (folder / CONFIG_FILE).is_file()), None)


class Workspace(ModelVerbs, RegistryVerbs):
    """A folder with `copydesk.toml`, the catalogue and the artifacts. Usable in a `with`."""

    def __init__(self, root: Path) -> None:
        """Open an existing workspace; `copydesk.open` finds it first."""
        self.root = root.resolve()
        self.config: Config = read_config(self.root / CONFIG_FILE)
        self.catalogue = Catalogue(self.root)
        self.server_keys = ServerKeys(self.catalogue)
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

    def delete_client(self, name: str) -> Receipt:
        """Remove a client and everything made from its pages; a signed receipt stays.

        A deletion that was cut off is finished by asking again.

        Raises:
            UnknownName: there is none of that name.
            InUse: it is being used; says by whom.
        """
        return erase_client(self._place, name, report=self.report_path)

    def unfinished_deletions(self) -> tuple[str, ...]:
        """Clients whose deletion was cut off; `delete_client` finishes it."""
        return pending_erasures(self._place)

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
        keep: Iterable[str] = (),
        contacts: Literal["flag", "scrub"] = "flag",
        workers: int | None = None,
        right: str | None = None,
        web: "WebSettings | None" = None,
        listener: Listener = ignore_progress,
    ) -> Curation:
        """Read, clean, deduplicate and split a client's pages and chats into a new dataset.

        The dataset's folder has a card that says what is in it: `card.md` and `card.html`.

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
            keep: ids of pages to take whatever the rules say.
            contacts: count contact data, or replace it; secrets are always replaced.
            workers: for large corpora: clean JSON lines in parts, in so many processes and in
                bounded memory. Style guides are not applied then. A run that was killed goes on.
            listener: receives progress.

        Raises:
            UnknownName: no such client.
            InvalidInput: a source cannot be read at all, or the right is none.
            Unreachable: a site does not answer.
            NotEnoughText: too few pages are left to train on and hold some out.
        """
        with using(self._place, client, doing="curates its pages"):
            return curate_client(
                self._place,
                client,
                sources,
                columns=columns,
                keep=frozenset(keep),
                contacts=contacts,
                workers=workers,
                right=right,
                web=web,
                listener=listener,
            )

    def withdraw(self, client: str, page: str, *, reason: str = "") -> Withdrawn:
        """Record that a page's owner withdrew it: later datasets leave it out, and what learned
        from it is marked.

        Args:
            client: whose page it is.
            page: its address, or eight or more digits of its SHA-256, as a dataset has them.
            reason: for the record.

        Raises:
            UnknownName: no such client, or no dataset of it has such a page.
            InvalidInput: `page` is neither, or fits several.
        """
        return withdraw(self._place, client, page, reason=reason)

    def withdrawn(self) -> tuple[Mark, ...]:
        """Datasets, versions and foundations that learned from pages that were withdrawn since."""
        return tuple(
            mark for row in self.catalogue.clients() for mark in marks(self._place, row.name)
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

    # Drafts

    def write(
        self,
        client: str,
        briefs: Iterable[Brief | PathLike],
        *,
        temperature: float = 0.7,
        top_p: float = 0.9,
        seed: int = 0,
        candidates: int = 1,
        variants: int = 1,
        to: str = "md",
        on_text: Callable[[str], None] | None = None,
        completer: Callable[[Version], Completer] | None = None,
        request_id: str = "",
    ) -> tuple[Written, ...]:
        """Write a checked draft for each brief, by `client` or `client@n`; drafts are kept.

        Args:
            client: the version that speaks, see `registry.live_version`, or the one named.
            briefs: briefs, or files of them: YAML, CSV, XLSX.
            temperature: 0 is greedy.
            top_p: share of the probability that tokens are drawn from.
            seed: the same brief, version, settings and seed give the same draft.
            candidates: how many to write for each draft that is kept.
            variants: how many to keep for each brief.
            to: the form beside the Markdown: `md`, `html`, `docx`, `json` or `wxr`.
            on_text: receives the text as it is made.
            completer: what writes for the version, such as a running engine; by default the
                version is loaded.
            request_id: of the request that it is written for, kept in the drafts' records.

        Raises:
            InvalidInput: a brief, setting or form cannot be used; nothing is written.
        """
        from copydesk.desk._writing import WriteSettings, write_drafts

        if to not in FORMATS:
            forms = ", ".join(FORMATS)
            raise InvalidInput(f"Drafts cannot be written as {to!r}", todo=f"Forms are: {forms}.")
        read = [
            item
            for brief in briefs
            for item in ([brief] if isinstance(brief, Brief) else read_briefs(Path(brief)))
        ]
        settings = WriteSettings(
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            candidates=candidates,
            variants=variants,
        )
        written: list[Written] = []
        speaker = client.partition("@")[0]
        with using(self._place, speaker, doing="writes drafts of it"):
            for draft in write_drafts(
                self._place,
                client,
                read,
                settings=settings,
                on_text=on_text,
                completer=completer,
                request_id=request_id,
            ):
                path = save_draft(self._drafts_folder(draft.client), draft)
                written.append(Written(draft=draft, path=save_as(path, draft, to)))
        return tuple(written)

    def drafts(self) -> tuple[Draft, ...]:
        """All drafts that were written here, by client, oldest first."""
        return tuple(
            draft
            for row in self.catalogue.clients()
            for draft in read_drafts(self._drafts_folder(row.name))
        )

    def check(
        self,
        client: str,
        paths: Sequence[PathLike],
        *,
        brief: Brief | None = None,
        waivers: Mapping[str, str] | None = None,
    ) -> tuple[Checked, ...]:
        """Check draft files against all that is known of the client, and against one another.

        Args:
            client: whose guide, `rules.toml`, Vale styles and pages they are checked against.
            paths: Markdown files.
            brief: what was to be written. Without it a draft that was written here has its own, and
                of another file the front matter's `title`, `keyword` and `format` make one.
            waivers: rule -> why its findings may stand; they stay listed, as waived.
        """
        from copydesk.desk._checking import check_files

        return check_files(
            self._place, client, [Path(path) for path in paths], brief=brief, waivers=waivers or {}
        )

    def training_index(self, client: str) -> TrainingIndex | None:
        """The client's training pages, indexed for verbatim runs; None before any were curated."""
        return client_training_index(self._place, client)

    def voice(self, client: str) -> VoiceModel:
        """How the client sounds, learned from its newest dataset; kept until a dataset changes.

        Raises:
            UnknownName: no such client, or none of its pages were curated yet.
            NotEnoughText: too few pages to learn a voice from.
        """
        return client_voice(self._place, client)

    def _drafts_folder(self, client: str) -> Path:
        return self.client_folder(client) / "drafts"

    def _client_info(self, name: str) -> ClientInfo:
        entry = self.catalogue.latest(DATASETS, name)
        counted = sum(map(len, self.documents(name))) if entry else 0
        found = client_history(self._place, name)
        return ClientInfo(
            name=name,
            documents=counted,
            versions=len(found.versions),
            live=found.live,
            stale=found.stale,
            style_guide=any(self.client_folder(name).glob("style_guide.*")),
        )

"""Files and folders in; pages and rejections out, one file at a time."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from copydesk.corpus._chats import chat_form, chat_of
from copydesk.corpus._fields import UnfitError
from copydesk.corpus._pages import Page, Place, document_of, shown
from copydesk.corpus._readers import (
    Gathered,
    Raw,
    Source,
    UnusableFileError,
    csv_records,
    json_records,
    jsonl_records,
    markdown_record,
)
from copydesk.corpus._settings import CurateSettings
from copydesk.errors import InvalidInput
from copydesk.records import Material, Rejection

_Kind = Literal["jsonl", "json", "csv", "markdown", "html", "xlsx", "docx", "xml"]
_KINDS: Final[Mapping[str, _Kind]] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xlsx": "xlsx",
    ".docx": "docx",
    ".xml": "xml",
}


def read_sources(
    sources: Sequence[Source],
    *,
    client: str,
    columns: Mapping[str, str] | None = None,
    settings: CurateSettings,
) -> Iterator[Material | Rejection]:
    """Read every page and chat of every source, in the order of the sources and of their lines.

    A source is a file of JSON lines, JSON, CSV, XLSX, Markdown, HTML, DOCX or WordPress's export
    (WXR), told by the end of its name; a folder that is searched for such files, hidden ones
    passed over; or what was gathered from a site. Records of JSON may be ready-made examples, in
    any of the forms that `chat_form` knows, plain texts, or posts of WordPress's REST interface.
    Duplicates are kept: `curate` sees the whole set.

    Where a record stands is told from the folder that holds all files and folders that were named,
    so that what is made of them does not depend on where they lie.

    Args:
        sources: files, folders, sites; a file met twice is read once.
        client: whose pages they are.
        columns: our field -> the column of a CSV or XLSX file.
        settings: limits.

    Raises:
        InvalidInput: a named file is missing, empty, binary, too large, unreadable or of another
            kind. Such a file inside a folder is a rejection, as the folder's other pages count.
    """
    for found in read_pages(sources, client=client, columns=columns, settings=settings):
        yield found.material if isinstance(found, Page) else found


def read_pages(
    sources: Sequence[Source],
    *,
    client: str,
    columns: Mapping[str, str] | None,
    settings: CurateSettings,
    on_source: Callable[[], None] = lambda: None,
) -> Iterator[Page | Rejection]:
    """`read_sources` with each record's place; `on_source` is called after each source."""
    files = _Files(
        root=common_folder(source for source in sources if isinstance(source, Path)),
        client=client,
        columns=columns,
        settings=settings,
    )
    for source in sources:
        if isinstance(source, Gathered):
            for record in source.records:
                yield (
                    record
                    if isinstance(record, Rejection)
                    else page_of(record, client, settings, is_json=False)
                )
        elif _is_folder(source):
            yield from files.of_folder(source)
        else:
            yield from files.named(source)
        on_source()


def common_folder(paths: Iterable[Path]) -> Path | None:
    """The folder that holds all these files and folders; None where there is none."""
    folders = {
        os.path.abspath(path if _is_folder(path) else path.parent)  # noqa: PTH100 - resolves no links
        for path in paths
    }
    try:
        return Path(os.path.commonpath(folders)) if folders else None
    except ValueError:  # on several drives
        return None


def place_in(root: Path | None, path: Path) -> Path:
    """The path as seen from the folder `root`, whatever the path was spelled from."""
    if root is None:
        return path
    return Path(os.path.relpath(path, root))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Files:
    """Reads files, each once, and tells where they stand from one folder."""

    root: Path | None
    client: str
    columns: Mapping[str, str] | None
    settings: CurateSettings
    seen: set[Path] = field(default_factory=set[Path])

    def named(self, path: Path) -> Iterator[Page | Rejection]:
        """The pages of a file that was named."""
        try:
            yield from self._pages(path)
        except UnusableFileError as problem:
            raise InvalidInput(problem.what, where=shown(path), todo=problem.todo) from None

    def of_folder(self, folder: Path) -> Iterator[Page | Rejection]:
        """The pages of all files in a folder."""
        files = 0
        for path, fault in _folder_files(folder):
            files += 1
            try:
                if fault is not None:
                    raise fault
                yield from self._pages(path)
            except UnusableFileError as problem:
                place = Place(path=shown(place_in(self.root, path)), line=None, digest="")
                yield place.reject(problem.rule, f"{problem.what}.")
        if not files:
            raise InvalidInput(
                "The folder holds no pages",
                where=shown(folder),
                todo=f"Put {', '.join(_KINDS)} files into it.",
            )

    def _pages(self, path: Path) -> Iterator[Page | Rejection]:
        """Raises `UnusableFileError`."""
        kind = _KINDS.get(path.suffix.lower())
        content = _content(path, kind, self.settings.max_bytes)
        real = path.resolve()
        if real in self.seen:
            return
        self.seen.add(real)
        for record in _records(place_in(self.root, path), content, kind, self.columns):
            if isinstance(record, Rejection):
                yield record
            else:
                is_json = kind in ("jsonl", "json")
                yield page_of(record, self.client, self.settings, is_json=is_json)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        # Reading it as a file says what is wrong.
        return False


def _records(
    path: Path, content: bytes, kind: _Kind | None, columns: Mapping[str, str] | None
) -> Iterator[Raw | Rejection]:
    """Raises `UnusableFileError`. The parsers of HTML and office files are slow to import."""
    if kind == "jsonl":
        yield from map(_unwrapped, jsonl_records(path, content))
    elif kind == "json":
        yield from map(_unwrapped, json_records(path, content))
    elif kind == "csv":
        yield from csv_records(path, content, columns)
    elif kind == "markdown":
        yield markdown_record(path, content)
    elif kind == "html":
        from copydesk.corpus._html import html_record

        yield html_record(path, content)
    elif kind == "xml":
        from copydesk.corpus._wordpress import wxr_records

        yield from wxr_records(path, content)
    else:
        from copydesk.corpus import _office

        if kind == "xlsx":
            yield from _office.xlsx_records(path, content, columns)
        else:
            yield _office.docx_record(path, content)


def _unwrapped(record: Raw | Rejection) -> Raw | Rejection:
    """A post of WordPress's REST interface with our fields; anything else as it is."""
    if isinstance(record, Rejection) or not isinstance(record.fields.get("content"), dict):
        return record
    from copydesk.corpus._wordpress import is_rest_post, rest_record

    return rest_record(record) if is_rest_post(record.fields) else record


def page_of(
    record: Raw, client: str, settings: CurateSettings, *, is_json: bool
) -> Page | Rejection:
    """A raw record as a page or a chat, or why it is none."""
    fields, place = record
    form = chat_form(fields) if is_json else None
    try:
        if form is not None:
            material: Material = chat_of(fields, form, place, client=client, settings=settings)
        else:
            material = document_of(
                fields, place, client=client, settings=settings, may_be_plain=is_json
            )
    except UnfitError as unfit:
        return place.reject(
            unfit.rule,
            unfit.reason,
            id=unfit.id,
            value=unfit.value,
            threshold=unfit.threshold,
        )
    return Page(material=material, place=place)


def _content(path: Path, kind: _Kind | None, max_bytes: int) -> bytes:
    """The bytes of a file that is of a known kind, ordinary, not empty and not too large."""
    try:
        if not path.exists():
            raise UnusableFileError("unreadable", "There is no such file", "Check the path.")
        if kind is None:
            raise UnusableFileError(
                "unsupported",
                f"Files of the kind {path.suffix or path.name!r} are not read",
                f"Use {', '.join(_KINDS)}.",
            )
        if not path.is_file():
            raise UnusableFileError(
                "unreadable", "It is not an ordinary file", "Save it to a file first."
            )
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as error:
        raise UnusableFileError(
            "unreadable",
            f"The file cannot be read: {error.strerror or error}",
            "Check its permissions.",
        ) from error
    if len(content) > max_bytes:
        raise UnusableFileError(
            "too-large", f"The file is larger than {max_bytes:,} bytes", "Split it into parts."
        )
    if not content.strip():
        raise UnusableFileError(
            "no-text", "The file is empty", "Check that the export was completed."
        )
    return content


def _folder_files(folder: Path) -> Iterator[tuple[Path, UnusableFileError | None]]:
    """Files of known kinds below `folder`, sorted, and what keeps others from being read.

    Links are followed only to files inside it.
    """
    inside = folder.resolve()
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        try:
            with os.scandir(here) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            said = f"The folder cannot be read: {error.strerror or error}"
            yield here, UnusableFileError("unreadable", said, "Check its permissions.")
            continue
        folders: list[Path] = []
        for entry in entries:
            path = here / entry.name
            if entry.name.startswith("."):
                continue
            problem = _link_problem(path, inside) if entry.is_symlink() else None
            if problem:
                yield path, problem
            elif entry.is_dir(follow_symlinks=False):
                folders.append(path)
            elif path.suffix.lower() in _KINDS:
                yield path, None
        waiting.extend(reversed(folders))


def _link_problem(link: Path, inside: Path) -> UnusableFileError | None:
    """Why a symbolic link is not followed; None where it may be, or matters to nobody."""
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):
        if link.suffix.lower() not in _KINDS:
            return None
        return _unfollowed("symlink", "The symbolic link leads nowhere")
    is_folder = target.is_dir()
    if not is_folder and link.suffix.lower() not in _KINDS:
        return None
    if not target.is_relative_to(inside):
        return _unfollowed(
            "outside-folder", "The symbolic link leads out of the folder that was named"
        )
    if is_folder:
        return _unfollowed("symlink", "Symbolic links to folders are not followed")
    return None


def _unfollowed(rule: str, what: str) -> UnusableFileError:
    return UnusableFileError(rule, what, "Put the file itself there.")

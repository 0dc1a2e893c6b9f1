"""Artifacts on disk and the catalogue that lists them.

An artifact is a folder that is built aside, hashed file by file into `manifest.json`, and moved
into place in one step: it is there whole or not at all. The catalogue (SQLite) lists clients and
artifacts; a row is written only after its artifact is in place. It also holds the tables of rooms
above, whose rows it does not read. Manifests are signed with the
workspace's own key.

Reads and writes: the workspace's folder. Does not know: what is inside an artifact.
"""

from copydesk.store._artifacts import (
    Artifact,
    Manifest,
    building,
    leftovers,
    open_artifact,
    read_manifest,
    strange_files,
    wrong_files,
)
from copydesk.store._bundles import Bundle, read_bundle, unpack_bundle, write_bundle
from copydesk.store._catalogue import Catalogue, ClientRow, Entry
from copydesk.store._files import (
    append_line,
    dead_parts,
    default_cache,
    file_sha256,
    folder_bytes,
    json_bytes,
    json_digest,
    read_json,
    replace_bytes,
    storage_errors,
)
from copydesk.store._locks import held, holder_of, shared, users
from copydesk.store._revision import code_revision
from copydesk.store._signatures import Keyring, changed_file, fingerprint, read_fingerprint

__all__ = [
    "Artifact",
    "Bundle",
    "Catalogue",
    "ClientRow",
    "Entry",
    "Keyring",
    "Manifest",
    "append_line",
    "building",
    "changed_file",
    "code_revision",
    "dead_parts",
    "default_cache",
    "file_sha256",
    "fingerprint",
    "folder_bytes",
    "held",
    "holder_of",
    "json_bytes",
    "json_digest",
    "leftovers",
    "open_artifact",
    "read_bundle",
    "read_fingerprint",
    "read_json",
    "read_manifest",
    "replace_bytes",
    "shared",
    "storage_errors",
    "strange_files",
    "unpack_bundle",
    "users",
    "write_bundle",
    "wrong_files",
]

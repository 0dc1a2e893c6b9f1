"""A client's erasure: nothing of it stays, a signed receipt does, and a cut-off one is finished."""

import gzip
import io
import json
import shutil
import sqlite3
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hard_kills import nursery

import copydesk
from copydesk import Brief, Workspace
from copydesk.desk import Receipt, ServerKeys, examine
from copydesk.desk._erasing import pending_erasures, receipts
from copydesk.desk._learned import Learned, learners, unknown_learners, write_learned
from copydesk.desk._using import pending_file, using
from copydesk.errors import Damaged, InUse, UnknownName
from copydesk.models import BaseStore
from copydesk.registry import add_version
from copydesk.store import Artifact, building, held, json_bytes

QUICK = {"max_steps": 2, "max_length": 512, "dtype": "float32"}
CANARIES = {
    "page": "zanzibarine",
    "draft": "quixotropic",
    "guide": "velvetmarrow",
    "site": "oxbowlantern",
    "waiver": "thistlegram",
}


def pages_with(canary: str, source: Path, target: Path) -> Path:
    lines = [json.loads(line) for line in source.read_text("utf-8").splitlines()]
    for page in lines:
        page["body_markdown"] = f"{canary} comes first. {page['body_markdown']} {canary}."
    target.write_text("".join(json.dumps(page) + "\n" for page in lines), encoding="utf-8")
    return target


@pytest.fixture(scope="module")
def planted(tiny_base: Path, sample_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a canary in everything of acme's that can hold words, and a neighbour."""
    root = tmp_path_factory.mktemp("erasing") / "agency"
    copydesk.init(root).close()
    (root / "copydesk.toml").write_text(f'base = "{tiny_base}"\n', encoding="utf-8")
    guide = root.parent / "guide.md"
    guide.write_text(f"Sound like {CANARIES['guide']}.", encoding="utf-8")
    pages = pages_with(
        CANARIES["page"], sample_folder / "fernwick" / "posts.jsonl", root.parent / "pages.jsonl"
    )
    with copydesk.open(root) as workspace:
        workspace.add_client("acme", style_guide=guide)
        workspace.curate("acme", [pages], right="owned")
        workspace.add_client("moonmilk")
        workspace.curate("moonmilk", [sample_folder / "moonmilk" / "posts.jsonl"])
        workspace.train(["acme"], settings=QUICK, method="lora")
        title = f"On {CANARIES['draft']}"
        workspace.write("acme", [Brief(title=title, format="blog", length=20)], to="docx")
        workspace.compare(["moonmilk", "acme"], methods=["lora"], settings=QUICK)
        (folder,) = workspace.client_folder("acme").glob("drafts")
        workspace.check("acme", list(folder.glob("*.md")))
        workspace.check("moonmilk", list(folder.glob("*.md")))
    client = root / "clients" / "acme"
    (client / "rules.toml").write_text(f'[waivers]\nclaims = "{CANARIES["waiver"]}"\n')
    site = client / "sites" / "0123456789abcdef"
    (site / "bodies").mkdir(parents=True)
    (site / "bodies" / ("ab" * 32)).write_bytes(gzip.compress(CANARIES["site"].encode() * 9))
    (site / "journal.jsonl").write_text(json.dumps({"title": CANARIES["site"]}) + "\n")
    left = root / "artifacts" / ".new" / ".building-999999999-ab" / "train.jsonl"
    left.parent.mkdir(parents=True)
    left.write_text(CANARIES["page"], encoding="utf-8")
    return root


@pytest.fixture
def agency(planted: Path, tmp_path: Path) -> Iterator[Workspace]:
    shutil.copytree(planted, tmp_path / "agency")
    with copydesk.open(tmp_path / "agency") as workspace:
        yield workspace


def unpacked(content: bytes) -> Iterator[bytes]:
    """A file's bytes, and of archives also what is in them."""
    yield content
    if content[:2] == b"\x1f\x8b":
        yield from unpacked(gzip.decompress(content))
    if content[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for name in archive.namelist():
                yield name.encode()
                yield from unpacked(archive.read(name))


def holding(root: Path, *words: str) -> set[str]:
    """Files below `root` that hold a word: in their name, bytes, or packed inside."""
    found: set[str] = set()
    for path in root.rglob("*"):
        relative = path.relative_to(root).as_posix()
        if any(word in relative.lower() for word in words):
            found.add(relative)
        elif path.is_file():
            parts = [part.lower() for part in unpacked(path.read_bytes())]
            if any(word.encode() in part for word in words for part in parts):
                found.add(relative)
    return found


def test_the_canaries_are_where_they_can_be(planted: Path) -> None:
    places = {name: holding(planted, word) for name, word in CANARIES.items()}
    assert any(name.startswith("artifacts/datasets/acme/") for name in places["page"])
    assert any(name.endswith(".docx") for name in places["draft"]), "inside an archive too"
    assert any("bodies" in name for name in places["site"]), "packed"
    assert all(places.values())


def test_of_an_erased_client_only_the_receipt_is_left(agency: Workspace) -> None:
    before = agency.documents("moonmilk")
    receipt = agency.delete_client("acme")
    assert holding(agency.root, *CANARIES.values()) == set()
    assert {"locks/acme.lock"} >= holding(agency.root, "acme")
    for name in ("copydesk.db", "copydesk.db-wal"):
        file = agency.root / name
        assert not file.exists() or b"acme" not in file.read_bytes()
    assert (agency.root / "copydesk.db-wal").stat().st_size == 0, "the log is cut"
    assert agency.documents("moonmilk") == before
    assert agency.comparisons() == (), "the one of both clients went"
    assert receipt.path.parent == agency.root / "receipts"
    with pytest.raises(UnknownName):
        agency.delete_client("acme")


def test_a_receipt_says_what_went_in_hashes_and_is_signed(agency: Workspace) -> None:
    pages = {item.sha256 for part in agency.documents("acme") for item in part}
    version = next(e for e in agency.catalogue.listed() if e.kind == "versions")
    receipt = agency.delete_client("acme")
    assert set(receipt.pages) == pages
    assert {"kind": "versions", "number": 1, "digest": version.digest} in receipt.artifacts
    assert receipt.is_about("acme") and not receipt.is_about("moonmilk")
    raw = json.loads(receipt.path.read_bytes())
    signature = bytes.fromhex(raw.pop("signature"))
    Ed25519PublicKey.from_public_bytes(bytes.fromhex(raw["key"])).verify(signature, json_bytes(raw))
    assert receipts(agency._place) == (receipt,)
    harmed = {**raw, "pages": raw["pages"][1:], "signature": signature.hex()}
    receipt.path.write_bytes(json_bytes(harmed))
    with pytest.raises(Damaged, match=receipt.path.name):
        receipts(agency._place)


def test_an_erased_name_can_be_used_again_and_gets_a_receipt_of_its_own(agency: Workspace) -> None:
    first = agency.delete_client("acme")
    agency.add_client("acme")
    second = agency.delete_client("acme")
    assert receipts(agency._place) == (first, second) or first.at == second.at
    assert first.path != second.path
    assert second.pages == ()


def test_a_client_that_is_used_is_not_erased(
    agency: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("copydesk.desk._erasing.PATIENCE_SECONDS", 0.1)
    with (
        using(agency._place, "acme", doing="curates its pages"),
        using(agency._place, "acme", doing="writes"),  # side by side
        pytest.raises(
            InUse, match=r"acme is in use by process \d+, which (curates its pages|writes), on"
        ),
    ):
        agency.delete_client("acme")
    assert pending_erasures(agency._place) == (), "it was not begun"
    assert agency.documents("acme")
    agency.delete_client("acme")


def test_a_client_that_is_being_erased_is_not_used(agency: Workspace, tmp_path: Path) -> None:
    pending = pending_file(agency._place, "acme")
    pending.parent.mkdir(parents=True)
    pending.write_text("{}")
    for use in (
        lambda: agency.curate("acme", [tmp_path]),
        lambda: agency.write("acme", [Brief(title="Peas", format="blog")]),
    ):
        with pytest.raises(InUse, match="being deleted"):
            use()
    receipt = agency.delete_client("acme")
    assert receipt.pages, "a note that is not ours takes nothing from the receipt"
    assert not pending.exists()


def test_a_client_is_not_erased_under_a_foundation_that_learns(agency: Workspace) -> None:
    run = agency.root / "runs" / ".foundation" / "abc"
    run.mkdir(parents=True)
    with (
        held(agency.root / "locks", ".foundation", doing="trains a foundation"),
        pytest.raises(InUse, match="foundation"),
    ):
        agency.delete_client("acme")
    assert agency.documents("acme")
    agency.delete_client("acme")
    assert not run.exists(), "what was cut off cannot go on"


def test_keys_that_were_for_the_client_alone_go_with_it(agency: Workspace) -> None:
    keys = ServerKeys(agency.catalogue)
    alone = keys.add(label="for acme", clients=["acme"])
    both = keys.add(label="both", clients=["acme", "moonmilk"])
    every = keys.add(label="every", every_client=True)
    admin = keys.add(label="admin", clients=["acme"], admin=True)
    receipt = agency.delete_client("acme")
    assert receipt.keys == (alone.key.id,)
    assert keys.find(alone.secret) is None
    left = {key.id: key.clients for key in keys.all()}
    assert left == {both.key.id: ("moonmilk",), every.key.id: (), admin.key.id: ()}
    assert b"acme" not in (agency.root / "copydesk.db").read_bytes()


def test_what_a_dead_process_left_of_the_report_goes(agency: Workspace) -> None:
    left = agency.root / ".report.html.999999999.part"
    left.write_text(CANARIES["draft"])
    agency.delete_client("acme")
    assert holding(agency.root, *CANARIES.values()) == set()


DELETE = """
import threading
from copydesk import desk
from copydesk.desk._using import pending_file
workspace = desk.open_workspace(target)
written = pending_file(workspace._place, "acme")
def watch():
    while not written.exists():
        time.sleep(0.0005)
    ready()
threading.Thread(target=watch, daemon=True).start()
workspace.delete_client("acme")
time.sleep(60)
"""


def test_a_killed_erasure_is_finished_with_the_whole_receipt(planted: Path, tmp_path: Path) -> None:
    with copydesk.open(planted) as workspace:
        pages = {item.sha256 for part in workspace.documents("acme") for item in part}
        kinds = {(e.kind, e.number) for e in workspace.catalogue.listed() if e.client == "acme"}
    stages: set[str] = set()
    with nursery(DELETE) as children:
        for attempt in range(8):
            root = tmp_path / str(attempt)
            shutil.copytree(planted, root)
            children.kill_after(attempt * 0.012, root)
            with copydesk.open(root) as workspace:
                place = workspace._place
                known = "acme" in {row.name for row in workspace.catalogue.clients()}
                begun = pending_erasures(place) == ("acme",)
                stages.add(f"{known} {begun}")
                if known or begun:
                    workspace.delete_client("acme")
                (receipt,) = receipts(place)
                assert set(receipt.pages) == pages
                assert {(item["kind"], item["number"]) for item in receipt.artifacts} == kinds
                assert pending_erasures(place) == ()
            assert holding(root, *CANARIES.values()) == set()
            shutil.rmtree(root)
    assert "True True" in stages, "one was hit in the middle"


# What learned from the pages and stays


def foundation(
    workspace: Workspace, base: Path, name: str, *, parent: str, learned: Learned
) -> str:
    """A base of the workspace's own, which says what it learned from; its digest."""
    target = workspace.root / "bases" / name
    keys = workspace.catalogue.keys
    with building(target, kind="base", inputs={"base": parent}, keys=keys) as artifact:
        shutil.copytree(base, artifact.path, dirs_exist_ok=True)
        # Other weights, or all would be one base.
        config = json.loads((artifact.path / "config.json").read_text())
        (artifact.path / "config.json").write_text(json.dumps(config | {"made": name}))
        write_learned(artifact.path, learned)
    return BaseStore(target.parent).find(str(target)).digest


def a_version(workspace: Workspace, client: str, base: str) -> None:
    def fill(artifact: Artifact) -> None:
        (artifact.path / "weights").write_text(client)
        artifact.facts["method"] = "lora"

    add_version(workspace.catalogue, client, {"base": base, "dataset": "d", "run": "r"}, fill)


def test_a_receipt_names_the_models_that_learned_from_the_pages(
    agency: Workspace, tiny_base: Path
) -> None:
    pages = {item.sha256 for item in agency.documents("acme")[0]}
    one = sorted(pages)[:1]
    first = foundation(
        agency, tiny_base, "f1", parent="x", learned=Learned(datasets=frozenset(), pages=set(one))
    )
    nothing = Learned(datasets=frozenset({"other"}), pages=frozenset({"0" * 64}))
    second = foundation(agency, tiny_base, "f2", parent=first, learned=nothing)
    clean = foundation(agency, tiny_base, "f3", parent="x", learned=nothing)
    old = foundation(agency, tiny_base, "f4", parent="x", learned=nothing)
    (agency.root / "bases" / "f4" / "learned.json").unlink()
    for base in (first, second, clean, old):
        a_version(agency, "moonmilk", base)
    receipt = agency.delete_client("acme")
    named = {(item["kind"], item["name"]) for item in receipt.learned}
    assert named == {
        ("foundation", "f1"),
        ("foundation", "f2"),  # trained on the first
        ("version", "moonmilk@1"),
        ("version", "moonmilk@2"),
    }, "and a damaged foundation stops nothing"
    noted = [item.what for item in examine(agency.root).found if item.check == "erased pages"]
    assert len(noted) == len(named), "and the doctor tells it as long as they are there"
    assert receipt.unknown == ("f4",) == unknown_learners(agency._place)
    assert learners(agency._place, pages=set(), datasets=set()) == ()


def test_a_new_catalogue_file_overwrites_what_is_deleted(tmp_path: Path) -> None:
    with copydesk.init(tmp_path) as workspace:
        assert workspace.catalogue.rows("PRAGMA secure_delete") == [(1,)]
    reader = sqlite3.connect(tmp_path / "copydesk.db")
    with copydesk.open(tmp_path) as workspace:
        workspace.add_client("acme")
        workspace.catalogue.rows("PRAGMA busy_timeout = 50")
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM clients").fetchall()
        with pytest.raises(InUse, match="another process"):
            workspace.delete_client("acme")
        assert pending_erasures(workspace._place) == ("acme",), "not done yet"
        reader.execute("COMMIT")
        assert isinstance(workspace.delete_client("acme"), Receipt)
        assert b"acme" not in (tmp_path / "copydesk.db").read_bytes()
    reader.close()

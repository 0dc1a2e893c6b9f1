"""Sites and search results in a workspace: what is kept, by whose right, and what never trains."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_site import Site, article, serving

import copydesk
from copydesk import Workspace
from copydesk.corpus.web import WebSettings
from copydesk.errors import InvalidInput, NotEnoughText, Unreachable
from copydesk.records import Document
from copydesk.store import open_artifact

WEB = WebSettings(delay_seconds=0, allow_private=True, retries=0)
TOPICS = (
    *("Kettles", "Teapots", "Saucers", "Spoons", "Trays", "Strainers", "Caddies", "Mugs"),
    *("Cosies", "Infusers", "Scales", "Timers"),
)
SEARCH = {
    "searchParameters": {"q": "kettle"},
    "organic": [{"title": "Kettles", "link": "https://a.example/", "position": 1}],
}


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with copydesk.init(tmp_path / "agency") as opened:
        opened.add_client("acme")
        yield opened


def page(topic: str) -> str:
    sentence = " ".join(f"{topic.lower()}{number}" for number in range(90))
    body = f"<p>{sentence}.</p><p>That is all there is to say of {topic.lower()} for now.</p>"
    return article(topic).replace("<h1>", f"<h1>{topic} ").replace("</h1>", f"</h1>{body}")


@pytest.fixture
def site() -> Iterator[Site]:
    with serving(Site()) as made:
        places = "".join(f"<url><loc>{made.address}/{one}</loc></url>" for one in TOPICS)
        made.add("/sitemap.xml", f"<urlset>{places}</urlset>", type="application/xml")
        for topic in TOPICS:
            made.add(f"/{topic}", page(topic))
        made.add("/Mugs", "", status=404)
        yield made


def test_a_site_becomes_a_dataset_with_its_provenance(workspace: Workspace, site: Site) -> None:
    address = f"{site.address}/sitemap.xml"
    result = workspace.curate("acme", [address], right="license: CC-BY-4.0", web=WEB)
    assert result.kept == len(TOPICS) - 1
    assert [(one.source, one.rule) for one in result.rejected] == [
        (f"{site.address}/Mugs", "http-status")
    ]
    train, heldout = workspace.documents("acme")
    for document in (*train, *heldout):
        assert isinstance(document, Document)
        assert document.right == "licence:CC-BY-4.0"
        assert document.url == document.source
        assert document.retrieved
        body = next((workspace.client_folder("acme") / "sites").glob(f"*/bodies/{document.sha256}"))
        assert document.title.split()[0].encode() in body.read_bytes()
    workspace.delete_client("acme")
    assert not list(workspace.root.rglob("bodies"))


def test_a_site_of_a_client_is_for_its_own_models_unless_a_right_is_recorded(
    workspace: Workspace, site: Site
) -> None:
    workspace.curate("acme", [f"{site.address}/sitemap.xml"], web=WEB)
    train, heldout = workspace.documents("acme")
    assert {item.right for item in (*train, *heldout) if isinstance(item, Document)} == {None}


def test_a_wrong_right_is_refused_before_anything_is_asked(
    workspace: Workspace, site: Site
) -> None:
    with pytest.raises(InvalidInput, match="not a right"):
        workspace.curate("acme", [f"{site.address}/sitemap.xml"], right="finders keepers", web=WEB)
    assert site.log == []


def test_local_addresses_are_refused_without_the_flag(workspace: Workspace, site: Site) -> None:
    with pytest.raises(InvalidInput, match="--allow-private"):
        workspace.curate("acme", [f"{site.address}/sitemap.xml"])
    assert site.log == []


def test_search_results_are_kept_and_train_nobody(workspace: Workspace, tmp_path: Path) -> None:
    file = tmp_path / "kettle.json"
    file.write_text(json.dumps(SEARCH))
    kept = workspace.import_searches([file])
    assert [one.query for one in kept.pages] == ["kettle"]
    artifact = open_artifact(kept.path)
    assert artifact.manifest is not None
    assert artifact.manifest.facts["use"].endswith("not training")
    assert (kept.path / "raw-1.json").read_bytes() == file.read_bytes()
    again = workspace.import_searches([file])
    assert again.path != kept.path
    assert workspace.search_pages() == kept.pages
    with pytest.raises(NotEnoughText, match="no-text"):
        workspace.curate("acme", [file])


def test_one_wrong_file_keeps_nothing(workspace: Workspace, tmp_path: Path) -> None:
    good, wrong = tmp_path / "good.json", tmp_path / "wrong.json"
    good.write_text(json.dumps(SEARCH))
    wrong.write_text('{"posts": []}')
    with pytest.raises(InvalidInput, match=r"wrong\.json"):
        workspace.import_searches([good, wrong])
    assert workspace.search_pages() == ()


def test_a_live_search_is_kept(
    workspace: Workspace, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = {"query": "kettle", "results": [{"title": "A", "url": "https://a.example/"}]}
    site.add("/search?q=kettle&format=json&language=en-US", json.dumps(answer))
    monkeypatch.setenv("SEARXNG_URL", site.address)
    assert workspace.search(["kettle"]).pages == workspace.search_pages()
    monkeypatch.delenv("SEARXNG_URL")
    with pytest.raises(InvalidInput, match="SEARXNG_URL"):
        workspace.search(["kettle"])
    with pytest.raises(InvalidInput, match="no provider 'altavista'"):
        workspace.search(["kettle"], provider="altavista")
    with pytest.raises(Unreachable):
        monkeypatch.setenv("SEARXNG_URL", "http://localhost:1")
        workspace.search(["kettle"])

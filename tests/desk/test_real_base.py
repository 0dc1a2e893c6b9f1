"""The main job on the real base: an adapter learns its client, by a clear margin."""

from pathlib import Path

import pytest

import copydesk
from copydesk.models import BaseStore
from copydesk.store import default_cache


@pytest.mark.slow
def test_an_adapter_beats_the_base_on_unseen_pages(sample_folder: Path, tmp_path: Path) -> None:
    BaseStore(default_cache()).pull("smollm2-135m")
    with copydesk.init(tmp_path / "agency") as workspace:
        for name in ("moonmilk", "kestrel"):
            workspace.add_client(name, style_guide=sample_folder / name / "style_guide.toml")
            workspace.curate(name, [sample_folder / name / "posts.jsonl"])
        workspace.train(["moonmilk"], settings={"epochs": 1})
        (row,) = [
            row
            for row in workspace.compare("moonmilk", methods=["lora"], settings={"epochs": 1}).rows
            if row.method == "lora"
        ]
        (base,) = [row for row in workspace.comparisons()[0].rows if row.method == "base"]
        assert row.heldout_loss_ci is not None and base.heldout_loss_ci is not None
        assert row.heldout_loss_ci[1] < base.heldout_loss_ci[0]
        (written,) = workspace.write("moonmilk", [sample_folder / "moonmilk" / "brief.yaml"])
        assert written.draft.version == "moonmilk@1"
        # The voice shows in what is easiest to see: it writes in lower case and signs.
        letters = [c for c in written.draft.text if c.isalpha()]
        assert sum(c.islower() for c in letters) > 0.95 * len(letters)
        assert "#moonmilk" in written.draft.text

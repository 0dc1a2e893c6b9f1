"""Threads of OpenMP: ended where they are idle, and limited for one thread alone."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from copydesk.native import openmp_library
from copydesk.serve._openmp import use_one_thread

pytestmark = pytest.mark.skipif(openmp_library() is None, reason="torch runs without GNU's OpenMP")

_COUNT = """
import os, torch
from copydesk.serve._openmp import end_idle_threads
torch.set_num_threads(4)
def product(): torch.randn(600, 600) @ torch.randn(600, 600)
def count(): return len(os.listdir("/proc/self/task"))
before = count(); product(); many = count(); end_idle_threads(); few = count(); product()
print(before, many, few, count(), torch.get_num_threads())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_idle_threads_end_and_come_again() -> None:
    said = subprocess.run(
        [sys.executable, "-c", _COUNT], capture_output=True, text=True, check=True
    ).stdout
    before, many, few, again, threads = map(int, said.split())
    assert many == before + 3
    assert few == before
    assert again == many
    assert threads == 4


_COPY = """
import os, time, torch
from copydesk.serve._merged import _STEPS, Copies
from copydesk.serve._runner import Prepared
torch.set_num_threads(4)
def merge(adapter):
    torch.randn(900, 900).addmm(torch.randn(900, 900), torch.randn(900, 900))
    return adapter
def count(): return len(os.listdir("/proc/self/task"))
before = count()
copies = Copies(merge, limit=1)
for _ in range(_STEPS): copies.note({"a"})
copies.find("a", Prepared(virtual_tokens=0, prompted=False, bytes=0, own=None))
end = time.monotonic() + 30
while not copies.count and time.monotonic() < end: time.sleep(0.01)
print(before, copies.count, count())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_making_a_merged_copy_leaves_no_pool_beside_the_engine() -> None:
    said = subprocess.run(
        [sys.executable, "-c", _COPY], capture_output=True, text=True, check=True
    ).stdout
    before, copies, after = map(int, said.split())
    assert copies == 1
    assert after == before + 1  # the thread that made it


def test_one_thread_alone_is_limited() -> None:
    here = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with ThreadPoolExecutor(1, initializer=use_one_thread) as pool:
            assert pool.submit(torch.get_num_threads).result() == 1
        assert torch.get_num_threads() == 3
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == 3
    finally:
        torch.set_num_threads(here)

"""An engine elsewhere: vLLM, reached or started, spoken to over HTTP.

Reads: adapters' folders, which it checks before it names them to vLLM. Writes: requests to one
address, and the log of a vLLM that it started. Does not know: clients, keys, or that there is a
server before it. It does not import torch.
"""

from copydesk.remote._engine import VllmEngine, reach_vllm
from copydesk.remote._process import OWN_MODEL, VllmProcess, find_vllm, start_vllm
from copydesk.remote._settings import VllmSettings

__all__ = [
    "OWN_MODEL",
    "VllmEngine",
    "VllmProcess",
    "VllmSettings",
    "find_vllm",
    "reach_vllm",
    "start_vllm",
]

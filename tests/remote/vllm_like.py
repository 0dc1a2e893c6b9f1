"""A real HTTP server that behaves as vLLM 0.32 does, over the embedded engine on a tiny base."""

import contextlib
import json
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch

from copydesk.errors import CopydeskError
from copydesk.models import BaseStore, load_base
from copydesk.records import AdapterRef, Generate, Job, Message, Piece, Sampling, TokenLogprob
from copydesk.serve import EngineSettings, LocalEngine, start_engine
from copydesk.store import open_artifact


@dataclass
class VllmLike:
    """What the server has, saw and is told to do wrong."""

    engine: LocalEngine
    window: int = 2048
    key: str = ""
    url: str = ""
    loaded: dict[str, AdapterRef] = field(default_factory=dict[str, AdapterRef])
    log: list[tuple[str, Any]] = field(default_factory=list[tuple[str, Any]])
    cancelled: int = 0
    broken_after: int | None = None
    """Close the connection behind so many chunks."""
    sick: bool = False

    def paths(self, path: str) -> list[Any]:
        return [body for asked, body in self.log if asked == path]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    like: VllmLike

    def do_GET(self) -> None:
        if self.path == "/health":
            self._answer(500 if self.like.sick else 200, None)
        elif self.path == "/v1/models":
            self._answer(200, {"data": [{"id": "base"}, *({"id": n} for n in self.like.loaded)]})
        else:
            self._answer(404, {"error": {"message": "Not Found"}})

    def do_POST(self) -> None:
        like = self.like
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if like.key and self.headers.get("authorization") != f"Bearer {like.key}":
            self._answer(401, {"error": "Unauthorized"})
            return
        like.log.append((self.path, body))
        if self.path == "/v1/load_lora_adapter":
            self._load(body)
        elif self.path == "/v1/unload_lora_adapter":
            gone = like.loaded.pop(body["lora_name"], None)
            self._answer(200 if gone else 404, {})
        elif self.path == "/tokenize":
            count = len(like.engine._prompts.encode(_prompt(body)))
            self._answer(200, {"count": count, "max_model_len": like.window, "tokens": []})
        else:
            self._continue(body)

    def _load(self, body: dict[str, str]) -> None:
        name, path = body["lora_name"], Path(body["lora_path"])
        if name in self.like.loaded:
            told = f"The lora adapter '{name}' has already been loaded."
            self._answer(400, {"error": {"message": told}})
            return
        manifest = open_artifact(path).manifest
        assert manifest is not None
        self.like.loaded[name] = AdapterRef(
            name=name,
            path=path,
            digest=open_artifact(path).digest,
            base_digest=manifest.inputs["base"],
        )
        self._answer(200, None, text=f"Success: LoRA adapter '{name}' added successfully.")

    def _continue(self, body: dict[str, Any]) -> None:
        like = self.like
        if body["model"] != "base" and body["model"] not in like.loaded:
            told = f"The model `{body['model']}` does not exist."
            self._answer(404, {"error": {"message": told}})
            return
        count = len(like.engine._prompts.encode(_prompt(body)))
        if count + body["max_tokens"] > like.window:
            told = f"This model's maximum context length is {like.window} tokens."
            self._answer(400, {"error": {"message": told, "code": 400}})
            return
        heard: queue.Queue[Piece | Job] = queue.Queue()
        job = like.engine.submit(_generate(body, like.loaded), heard.put, heard.put)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        try:
            self._stream(body, heard)
        except OSError:
            like.cancelled += 1
            job.cancel()
            self.close_connection = True

    def _stream(self, body: dict[str, Any], heard: "queue.Queue[Any]") -> None:
        chat, sent = "messages" in body, 0
        while isinstance(item := heard.get(), Piece):
            if sent == self.like.broken_after:
                self.close_connection = True
                self.connection.shutdown(2)
                return
            sent += 1
            logprobs = (_chat if chat else _text)(item.logprobs) if "logprobs" in body else None
            choice = {"delta": {"content": item.text}} if chat else {"text": item.text}
            self._event({"choices": [choice | {"index": 0, "logprobs": logprobs}]})
        try:
            end = item.result(1)
        except CopydeskError as error:
            self._event({"error": {"message": str(error)}})
            self._chunk(b"")
            return
        last = {"delta": {}} if chat else {"text": ""}
        self._event({"choices": [last | {"finish_reason": end.completion.finish_reason}]})
        usage = {
            "prompt_tokens": end.prompt_tokens,
            "completion_tokens": end.completion.tokens,
            "prompt_tokens_details": {"cached_tokens": end.cached_tokens},
        }
        self._event({"choices": [], "usage": usage})
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _event(self, content: dict[str, Any]) -> None:
        self._chunk(f"data: {json.dumps(content)}\n\n".encode())

    def _chunk(self, content: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
        self.wfile.flush()

    def _answer(self, status: int, content: Any, text: str | None = None) -> None:
        raw = (text if text is not None else json.dumps(content)).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *args: object) -> None:
        """The log is the server's own."""


@contextlib.contextmanager
def vllm_like(base: Path) -> Iterator[VllmLike]:
    """Run such a server for the length of the block."""
    info = BaseStore(base.parent / "cache").find(str(base))
    loaded = load_base(info, device=torch.device("cpu"), dtype=torch.float32)
    engine = start_engine(loaded, EngineSettings(max_running=8))
    like = VllmLike(engine)
    handler = type("Handler", (_Handler,), {"like": like})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    like.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield like
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        engine.stop()


def _prompt(body: dict[str, Any]) -> Any:
    if "messages" not in body:
        return body["prompt"]
    return tuple(Message(role=one["role"], content=one["content"]) for one in body["messages"])


def _generate(body: dict[str, Any], loaded: dict[str, AdapterRef]) -> Generate:
    logprobs = body.get("logprobs")
    if logprobs is True:
        logprobs = body["top_logprobs"]
    form = body.get("response_format")
    return Generate(
        prompt=_prompt(body),
        adapter=loaded.get(body["model"]),
        sampling=Sampling(
            max_new_tokens=body["max_tokens"],
            temperature=body["temperature"],
            top_p=body["top_p"],
            repetition_penalty=body["repetition_penalty"],
            seed=body["seed"],
        ),
        stop=tuple(body.get("stop", ())),
        logprobs=logprobs,
        json_schema=form and form.get("json_schema", {}).get("schema", {}),
    )


def _one(token: str, raw: bytes, value: float) -> dict[str, Any]:
    return {"token": token, "bytes": list(raw), "logprob": value}


def _chat(tokens: tuple[TokenLogprob, ...]) -> dict[str, Any]:
    content = [
        _one(t.token, t.token_bytes, t.logprob) | {"top_logprobs": [_one(*top) for top in t.top]}
        for t in tokens
    ]
    return {"content": content}


def _text(tokens: tuple[TokenLogprob, ...]) -> dict[str, Any]:
    return {
        "tokens": [t.token for t in tokens],
        "token_logprobs": [t.logprob for t in tokens],
        "top_logprobs": [{text: value for text, _, value in t.top} for t in tokens],
    }

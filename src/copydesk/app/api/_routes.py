"""The public routes: OpenAI's interface, and health."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from copydesk.app.api._answers import model_entry
from copydesk.app.api._drafting import draft
from copydesk.app.api._gate import App, Gate, Gone, broken
from copydesk.app.api._generating import answer
from copydesk.app.api._problems import Problem, json_response, problem_of, problem_of_fields
from copydesk.app.api._requests import ChatRequest, CompletionRequest, DraftRequest
from copydesk.app.api._service import Service
from copydesk.app.api._shapes import (
    ChatCompletion,
    DraftList,
    Model,
    ModelList,
    TextCompletion,
    errors,
)
from copydesk.app.api._visits import GONE, Visit
from copydesk.app.api._wanted import wanted_chat, wanted_text
from copydesk.errors import CopydeskError

_DESCRIPTION = """\
OpenAI's interface over one base and every client's adapter. `model` is a client (its live version),
`client@n`, or `base:NAME`. With `stream: true` answers come as server-sent events.
"""


def build_api(service: Service) -> App:
    """The public server, as an ASGI application."""
    api = FastAPI(
        title="Copydesk",
        version="1",
        description=_DESCRIPTION,
        docs_url=None,  # the page of documents loads scripts from elsewhere
        redoc_url=None,
    )
    answer_problems(api)
    add_health(api, service)

    @api.get("/v1/models", responses={200: {"model": ModelList}, **errors()})
    async def list_models(request: Request) -> Response:
        """The models that the key may use."""
        visit = _visit(request, "models")
        found = await service.front.models(visit.key)
        return json_response({"object": "list", "data": [model_entry(one) for one in found]})

    @api.get("/v1/models/{model}", responses={200: {"model": Model}, **errors(400, 404)})
    async def get_model(request: Request, model: str) -> Response:
        """One model that the key may use."""
        visit = _visit(request, "models")
        return json_response(model_entry(await service.front.find_model(visit.key, model)))

    @api.post(
        "/v1/chat/completions",
        responses={
            200: {"model": ChatCompletion, "content": {"text/event-stream": {}}},
            **errors(400, 404, 408, 413, 429, 503, 504),
        },
    )
    async def chat(request: Request, asked: ChatRequest) -> Response:
        """Continue a chat."""
        _visit(request, "chat")
        return await answer(request, service, asked, wanted_chat(asked, service.limits))

    @api.post(
        "/v1/completions",
        responses={
            200: {"model": TextCompletion, "content": {"text/event-stream": {}}},
            **errors(400, 404, 408, 413, 429, 503, 504),
        },
    )
    async def text(request: Request, asked: CompletionRequest) -> Response:
        """Continue texts as they stand, without a chat template."""
        _visit(request, "completions")
        return await answer(request, service, asked, wanted_text(asked, service.limits))

    @api.post(
        "/v1/drafts",
        responses={
            200: {"model": DraftList},
            **errors(400, 404, 408, 413, 429, 503, 504),
        },
    )
    async def drafts(request: Request, asked: DraftRequest) -> Response:
        """Write checked drafts for a brief, and keep them. Not OpenAI's."""
        _visit(request, "drafts")
        return await draft(request, service, asked)

    _document(api)
    return Gate(api, service)


def add_health(api: FastAPI, service: Service) -> None:
    """`/health/live` and `/health/ready`, which need no key and tell nothing else."""

    @api.get("/health/live")
    async def live() -> Response:
        """Whether the process answers."""
        return json_response({"status": "live"})

    @api.get("/health/ready", responses={503: {"description": "It takes no requests now."}})
    async def ready() -> Response:
        """Whether requests are taken."""
        ready = service.ready
        word = "ready" if ready else "not ready"
        return json_response({"status": word}, status=200 if ready else 503)


def answer_problems(api: FastAPI) -> None:
    """Answer all that can go wrong in OpenAI's shape."""

    def noted(request: Request, problem: Problem) -> Response:
        request.state.visit.problem = problem.message
        return problem.response()

    async def problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return noted(request, error)

    async def own(request: Request, error: Exception) -> Response:
        assert isinstance(error, CopydeskError)
        answered = problem_of(error)
        response = noted(request, answered)
        if answered.status >= 500:  # its caller is told little; the log is told all
            request.state.visit.problem = str(error)
        return response

    async def fields(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return noted(request, problem_of_fields(error))

    async def other(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        told = "The body cannot be read" if error.status_code == 400 else str(error.detail)
        headers = dict(error.headers or {})
        return noted(request, Problem(status=error.status_code, message=told, headers=headers))

    async def gone(*_: object) -> Response:
        return Response(status_code=GONE)

    async def fault(*_: object) -> Response:
        return broken().response()

    api.add_exception_handler(Problem, problem)
    api.add_exception_handler(CopydeskError, own)
    api.add_exception_handler(RequestValidationError, fields)
    api.add_exception_handler(HTTPException, other)
    api.add_exception_handler(Gone, gone)
    api.add_exception_handler(Exception, fault)


def _visit(request: Request, route: str) -> Visit:
    visit: Visit = request.state.visit
    visit.route = route
    return visit


def _document(api: FastAPI) -> None:
    """Make the OpenAPI document say how keys are given, and that wrong bodies are answered 400."""
    made = api.openapi

    def document() -> dict[str, Any]:
        if api.openapi_schema is None:
            found = made()
            for path, methods in found["paths"].items():
                for operation in methods.values():
                    operation["responses"].pop("422", None)
                    if path.startswith("/v1/"):
                        operation["security"] = [{"key": []}]
            schemes = found.setdefault("components", {}).setdefault("securitySchemes", {})
            schemes["key"] = {"type": "http", "scheme": "bearer"}
            for unused in ("HTTPValidationError", "ValidationError"):
                found["components"].get("schemas", {}).pop(unused, None)
            api.openapi_schema = found
        return api.openapi_schema

    api.openapi = document

"""Drafts by a running engine: a brief in, checked drafts out, which are kept in the workspace."""

from dataclasses import asdict
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from copydesk import desk
from copydesk.app.api._problems import Problem, json_response, problem_of
from copydesk.app.api._requests import DraftRequest
from copydesk.app.api._running import unless_gone
from copydesk.app.api._service import Service
from copydesk.app.api._visits import Visit
from copydesk.content import make_brief
from copydesk.desk import EngineWriter, ServedModel
from copydesk.errors import CopydeskError, EngineDown
from copydesk.records import Brief, Draft
from copydesk.registry import Version, adapter_ref

_USUAL_WORDS = 400
_TOKENS_A_WORD = 2
"""With room: what a draft may use of a quota, before it is known."""


async def draft(request: Request, service: Service, asked: DraftRequest) -> Response:
    """Write the drafts and answer with them.

    Raises:
        Problem, CopydeskError: it cannot be answered.
        Gone: whoever asked is not there any more; what is being written is ended.
    """
    visit: Visit = request.state.visit
    model = await service.front.find_model(visit.key, asked.model, visit.request_id)
    if model.adapter is None:
        raise Problem(
            status=400,
            message="Drafts are written for a client",
            code="invalid_value",
            param="model",
        )
    brief = make_brief(**_field_names(asked.brief))
    visit.model, visit.client = model.name, model.client
    visit.choices = asked.candidates * asked.variants
    if service.draining:
        raise EngineDown("The server is about to end")
    held = visit.choices * _most_tokens(brief)
    service.allowance.admit(visit.key, held)
    turn = _Turn(service, visit, asked, model, brief)
    try:
        left = service.limits.seconds + service.limits.grace_seconds - visit.seconds
        drafts = await unless_gone(request.receive, service.drafters.run(turn.write), seconds=left)
    except CopydeskError as error:
        raise problem_of(error, late=visit.seconds >= service.limits.seconds) from error
    finally:
        turn.stop()
        service.allowance.settle(visit.key, held=held, used=turn.settle())
    return json_response({"object": "list", "data": drafts, "usage": turn.usage()})


class _Turn:
    """One request for drafts, on a thread of its own."""

    def __init__(
        self, service: Service, visit: Visit, asked: DraftRequest, model: ServedModel, brief: Brief
    ) -> None:
        self._service = service
        self._visit = visit
        self._asked = asked
        self._model = model
        self._brief = brief
        self._writer: EngineWriter | None = None
        self._left = False
        visit.cancel = self.stop

    def write(self) -> list[dict[str, Any]]:
        """Open the workspace, write, check and keep the drafts."""
        asked = self._asked
        with desk.open_workspace(self._service.root) as workspace:
            written = workspace.write(
                self._model.id,
                [self._brief],
                temperature=asked.temperature,
                top_p=asked.top_p,
                seed=asked.seed,
                candidates=asked.candidates,
                variants=asked.variants,
                completer=self._completer,
                request_id=self._visit.request_id,
            )
        return [_shown(item.draft) for item in written]

    def stop(self) -> None:
        """End what is being written."""
        self._left = True
        if self._writer is not None:
            self._writer.stop()

    def settle(self) -> int:
        """Note what was used; the tokens of it."""
        usage = self.usage()
        self._visit.cancel = None
        self._visit.prompt_tokens = usage["prompt_tokens"]
        self._visit.completion_tokens = usage["completion_tokens"]
        return usage["total_tokens"]

    def usage(self) -> dict[str, Any]:
        """Tokens of all texts that were asked for, candidates and titles too."""
        prompt = self._writer.prompt_tokens if self._writer else 0
        made = self._writer.tokens if self._writer else 0
        return {
            "prompt_tokens": prompt,
            "completion_tokens": made,
            "total_tokens": prompt + made,
            "prompt_tokens_details": {"cached_tokens": 0},
        }

    def _completer(self, version: Version) -> EngineWriter:
        self._visit.model = version.name
        self._writer = EngineWriter(
            engine=self._service.engine,
            adapter=adapter_ref(version),
            share=version.client,
            request_id=self._visit.request_id,
            deadline_seconds=max(0.001, self._service.limits.seconds - self._visit.seconds),
        )
        if self._left:
            self._writer.stop()
        return self._writer


def _shown(written: Draft) -> dict[str, Any]:
    found = asdict(written)
    return {key: value for key, value in found.items() if key not in ("brief",)}


def _most_tokens(brief: Brief) -> int:
    words = brief.length_range[1] if brief.length_range else brief.length or _USUAL_WORDS
    return words * _TOKENS_A_WORD


def _field_names(brief: dict[str, Any]) -> dict[str, Any]:
    """A brief's fields, where all could be names: others are not even looked at."""
    if len(brief) > 40 or not all(name.isidentifier() for name in brief):
        raise Problem(
            status=400, message="The brief has fields that none has", code="invalid_value",
            param="brief",
        )  # fmt: skip
    return brief

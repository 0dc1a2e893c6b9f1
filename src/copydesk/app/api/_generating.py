"""A request under way: handed to the engine, and what it says made into an answer."""

import secrets
from collections.abc import AsyncGenerator, Mapping, Sequence

from starlette.requests import Request
from starlette.responses import Response

from copydesk.app.api._answers import Answer, Signature, sign, usage
from copydesk.app.api._front import Ended
from copydesk.app.api._problems import json_response, problem_of
from copydesk.app.api._requests import Sampled
from copydesk.app.api._running import Event, Running, unless_gone
from copydesk.app.api._service import Service
from copydesk.app.api._stream import DONE, EventStream, event
from copydesk.app.api._visits import Visit
from copydesk.app.api._wanted import Prompt, Wanted, check_limits
from copydesk.desk import ServedModel
from copydesk.errors import Busy, CopydeskError, EngineDown
from copydesk.records import Generate, Piece, Sampling

_CHARACTERS_A_TOKEN = 4
"""About, in English: for prompts whose answer was broken off before they were counted."""


async def answer(request: Request, service: Service, asked: Sampled, wanted: Wanted) -> Response:
    """Look up the model, run the request and answer it, whole or as a stream.

    Raises:
        Problem, CopydeskError: it cannot be answered; nothing runs then.
        Gone: whoever asked is not there any more.
    """
    visit: Visit = request.state.visit
    limits = service.limits
    check_limits(asked, wanted, limits)
    model = await service.front.find_model(visit.key, asked.model, visit.request_id)
    visit.model, visit.client = model.name, model.client
    visit.choices = len(wanted.prompts) * wanted.choices
    visit.stream = bool(asked.stream)
    if service.log_text:
        visit.text = {"prompts": [_shown(prompt) for prompt in wanted.prompts]}
    if service.draining:
        raise EngineDown("The server is about to end")
    turn = Turn(service=service, visit=visit, wanted=wanted, asked=asked, model=model)
    try:
        chunks = turn.chunks()
        seconds = limits.seconds + limits.grace_seconds - visit.seconds
        first = await unless_gone(request.receive, anext(chunks), seconds=seconds)
    except CopydeskError as error:
        late = visit.seconds >= limits.seconds
        raise problem_of(error, late=late) from error
    if not asked.stream:
        await chunks.aclose()
        return json_response(turn.whole())
    return EventStream(_chained(first, chunks), limits)


class Turn:
    """One request under way."""

    def __init__(
        self, *, service: Service, visit: Visit, wanted: Wanted, asked: Sampled, model: ServedModel
    ) -> None:
        self._service = service
        self._visit = visit
        self._wanted = wanted
        self._asked = asked
        self._model = model
        self._answers = [Answer() for _ in range(len(wanted.prompts) * wanted.choices)]
        self._signature: Signature = sign(wanted.prefix, model, service.base_digest)

    async def chunks(self) -> AsyncGenerator[bytes]:
        """The chunks of the answer; of one that does not stream a single empty one, at its end.

        The quota is settled, and what was used noted, however it ends.
        """
        service, key = self._service, self._visit.key
        streamed = bool(self._asked.stream)
        # With a quota, what was made before somebody hung up is counted by its pieces.
        pieces = streamed or self._wanted.logprobs is not None or (key and key.quota) is not None
        service.allowance.admit(key, self._wanted.most_tokens)
        try:
            async with Running(service.engine, self._generates(), pieces=pieces) as running:
                self._visit.cancel = running.cancel
                async for happened in running.events():
                    chunk = self._take(happened)
                    if streamed and chunk:
                        yield chunk
            self._report_text()
            if not streamed:
                yield b""
                return
            if self._asked.usage_streamed:
                yield self._chunk([], usage=self._usage())
            yield DONE
        except CopydeskError as error:
            if error.fault == "machine" and not isinstance(error, Busy):
                self._report_error()
            raise
        finally:
            self._settle()

    def whole(self) -> Mapping[str, object]:
        """The answer of a request that does not stream."""
        content = self._wanted.style.whole(self._signature, self._answers)
        return content | {"usage": self._usage()}

    def _take(self, happened: Event) -> bytes:
        """Note what happened; the chunk that tells of it."""
        answer, style = self._answers[happened.index], self._wanted.style
        if happened.piece is not None:
            return self._take_piece(happened.index, happened.piece)
        end = happened.end
        assert end is not None
        if isinstance(end, CopydeskError):
            raise end
        opened = b"" if answer.text or answer.logprobs else self._opening(happened.index)
        answer.generated = end
        answer.text = end.completion.text
        return opened + self._chunk([style.ending(happened.index, answer.finish)])

    def _take_piece(self, index: int, piece: Piece) -> bytes:
        answer, style = self._answers[index], self._wanted.style
        opened = b"" if answer.text or answer.logprobs else self._opening(index)
        chunk = self._chunk([style.piece(index, piece, len(answer.text))])
        answer.text += piece.text
        answer.pieces += 1
        answer.logprobs.extend(piece.logprobs)
        return opened + chunk

    def _opening(self, index: int) -> bytes:
        choice = self._wanted.style.opening(index)
        return self._chunk([choice]) if choice else b""

    def _chunk(
        self, choices: Sequence[dict[str, object]], usage: dict[str, object] | None = None
    ) -> bytes:
        if not self._asked.stream:
            return b""
        content = self._signature.head(self._wanted.style.chunk_kind) | {"choices": choices}
        if self._asked.usage_streamed:
            content["usage"] = usage
        return event(content)

    def _usage(self) -> dict[str, object]:
        return usage(self._answers, per_prompt=self._wanted.choices)

    def _report_text(self) -> None:
        """Have the answer checked, where a canary is to hear of it; JSON is no text to judge."""
        if (done := self._ended(error=False)) is None:
            return
        if self._wanted.schema is not None:
            self._service.ended.append(done)
        else:
            self._service.inspector.offer(done, [one.text for one in self._answers])

    def _report_error(self) -> None:
        if (done := self._ended(error=True)) is not None:
            self._service.ended.append(done)

    def _ended(self, *, error: bool) -> Ended | None:
        model = self._model
        if model.canary is None:
            return None
        return Ended(client=model.client, number=model.number, canary=model.canary, error=error)

    def _settle(self) -> None:
        """Note for the log, the metrics and the quota what was used, of a broken answer too."""
        visit, ends = self._visit, [one.generated for one in self._answers if one.generated]
        used = self._usage()
        visit.cancel = None
        visit.prompt_tokens = int(str(used["prompt_tokens"]))
        visit.completion_tokens = int(str(used["completion_tokens"]))
        visit.cached_tokens = sum(end.cached_tokens for end in ends)
        visit.finish = tuple(one.finish for one in self._answers if one.generated)
        if ends:
            visit.queued_seconds = round(min(end.queued_seconds for end in ends), 6)
            visit.first_token_seconds = round(min(end.first_token_seconds for end in ends), 6)
        if visit.text is not None:
            visit.text["answers"] = [one.text for one in self._answers]
        total = visit.prompt_tokens + visit.completion_tokens
        if len(ends) < len(self._answers):  # the engine says what was used at the end alone
            total += sum(map(len, self._prompt_texts())) // _CHARACTERS_A_TOKEN
            total += sum(one.pieces for one in self._answers if not one.generated)
        self._service.allowance.settle(visit.key, held=self._wanted.most_tokens, used=total)

    def _prompt_texts(self) -> list[str]:
        chats = [
            [p] if isinstance(p, str) else [t.content for t in p] for p in self._wanted.prompts
        ]
        return [text for chat in chats for text in chat]

    def _generates(self) -> list[Generate]:
        asked, wanted, visit = self._asked, self._wanted, self._visit
        seed = asked.seed if asked.seed is not None else secrets.randbits(62)
        return [
            Generate(
                prompt=prompt,
                adapter=self._model.adapter,
                sampling=Sampling(
                    max_new_tokens=wanted.max_tokens,
                    temperature=1.0 if asked.temperature is None else asked.temperature,
                    top_p=1.0 if asked.top_p is None else asked.top_p,
                    repetition_penalty=asked.repetition_penalty or 1.0,
                    seed=_nth(seed, number),
                ),
                stop=tuple(asked.stops),
                logprobs=wanted.logprobs,
                json_schema=wanted.schema,
                share=self._model.client,
                request_id=visit.request_id,
                deadline_seconds=max(0.001, self._service.limits.seconds - visit.seconds),
            )
            for prompt in wanted.prompts
            for number in range(wanted.choices)
        ]


async def _chained(first: bytes, rest: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
    try:
        yield first
        async for chunk in rest:
            yield chunk
    finally:
        await rest.aclose()


def _nth(seed: int, number: int) -> int:
    """The seed of the nth answer: the given one for the first, within 63 bits for all."""
    return seed if number == 0 else (seed + number * 0x9E3779B97F4A7C15) % 2**63


def _shown(prompt: Prompt) -> object:
    if isinstance(prompt, str):
        return prompt
    return [{"role": turn.role, "content": turn.content} for turn in prompt]

"""Requests made from the OpenAPI document by schemathesis: no 5xx, no hang, what is documented."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import schemathesis
from handled import Handled
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.checks import (
    response_schema_conformance,
    status_code_conformance,
)
from served import Served, make_workspace, serving

from copydesk.app.api import Limits

SECONDS = 20.0
TRIES = 150


@pytest.fixture(scope="module")
def server(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("fuzz") / "agency"
    make_workspace(root, tiny_base, ("acme",)).close()
    engine = Handled(tiny_base, max_length=256)
    limits = Limits(max_tokens=16, seconds=SECONDS, prompt_characters=2_000)
    with serving(root, engine, engine.info.digest, limits=limits) as running:
        yield running


@pytest.fixture
def document(server: Served) -> schemathesis.schemas.BaseSchema:
    return schemathesis.openapi.from_url(f"{server.url}/openapi.json")


def test_the_document_names_what_there_is(server: Served) -> None:
    found = httpx2.get(f"{server.url}/openapi.json").json()
    assert set(found["paths"]) == {
        *("/v1/models", "/v1/models/{model}", "/v1/chat/completions", "/v1/completions"),
        *("/v1/drafts",),
        *("/health/live", "/health/ready"),
    }
    assert "422" not in found["paths"]["/v1/completions"]["post"]["responses"]


@pytest.mark.slow
def test_no_request_is_answered_with_a_5xx_or_not_at_all(
    server: Served, document: schemathesis.schemas.BaseSchema
) -> None:
    statuses: dict[str, set[int]] = {}
    for found in document.get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=TRIES,
            deadline=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
            derandomize=True,
            database=None,
        )
        @_given(operation)
        def fuzz(case: schemathesis.Case) -> None:
            if isinstance(case.body, dict) and case.body.get("messages"):
                case.body["model"] = "acme"  # else nearly all would end at the unknown model
            answer = case.call(timeout=SECONDS + 10, base_url=server.url)
            statuses.setdefault(case.operation.label, set()).add(answer.status_code)
            assert answer.status_code < 500, answer.text
            case.validate_response(answer, checks=CHECKS)

        fuzz()
    assert statuses["POST /v1/chat/completions"] >= {200, 400}
    assert httpx2.get(f"{server.url}/health/ready").status_code == 200


def _given(operation: schemathesis.schemas.APIOperation):  # type: ignore[no-untyped-def]
    from hypothesis import given

    positive = operation.as_strategy()
    negative = operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)
    return given(case=positive | negative)


CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    response_schema_conformance,
]

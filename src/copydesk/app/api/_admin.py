"""The admin server, on a port of its own: metrics, state, and a way to end a request."""

from fastapi import FastAPI
from starlette.responses import Response

from copydesk.app.api._gate import App, Gate
from copydesk.app.api._problems import Problem, json_response
from copydesk.app.api._routes import add_health, answer_problems
from copydesk.app.api._service import Service


def build_admin(service: Service) -> App:
    """The admin server, as an ASGI application. It is never on the public port."""
    api = FastAPI(title="Copydesk admin", version="1", docs_url=None, redoc_url=None)
    answer_problems(api)
    add_health(api, service)

    @api.get("/metrics")
    async def metrics() -> Response:
        """For Prometheus."""
        text = service.metrics.text()
        return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")

    @api.get("/state")
    async def state() -> Response:
        """What the engine does, and for whom."""
        now = service.engine.state()
        requests = [
            {
                "request_id": visit.request_id,
                "path": visit.path,
                "model": visit.model,
                "key": visit.key.id if visit.key else None,
                "seconds": round(visit.seconds, 3),
            }
            for visit in service.visits.values()
            if visit.route
        ]
        return json_response(
            {
                "status": "draining" if service.draining else now.status,
                "running": now.running,
                "waiting": now.waiting,
                "figures": dict(now.figures),
                "requests": requests,
            }
        )

    @api.post("/requests/{request_id}/cancel")
    async def cancel(request_id: str) -> Response:
        """End every request of this id; its caller is answered 503."""
        found = [one for one in service.visits.values() if one.request_id == request_id]
        found = [visit for visit in found if visit.cancel is not None]
        if not found:
            raise Problem(status=404, message="No request of this id is under way")
        for visit in found:
            assert visit.cancel is not None
            visit.cancel()
        return json_response({"cancelled": len(found)})

    return Gate(api, service, admin=True)

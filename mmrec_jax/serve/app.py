"""The server's HTTP side: routes, errors in OpenAI's form, streams of events."""

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

from fastapi import FastAPI
from fastapi import Request as HttpRequest
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from mmrec_jax.errors import UserError
from mmrec_jax.serve.engine import Busy, Delta, Request
from mmrec_jax.serve.protocol import ChatBody, CompletionBody, GenerationBody
from mmrec_jax.serve.service import Service

_FAILED = 500, "the server failed, and its log says why", "server_error"


def create_app(service: Service) -> FastAPI:
    """The application, whose shutdown closes the engine that was started before."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(service.engine.close)

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(_BodyLimit, most=service.limits.max_body_kb * 1024)

    async def handle(_: HttpRequest, error: Exception) -> Response:
        response = _told(error)
        service.engine.counts[f"refused_requests_{response.status_code}"] += 1
        return response

    for kind in (UserError, Busy, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, handle)
    model: dict[str, Any] = {"id": service.name, "object": "model", "owned_by": "mmrec_jax"}
    model["created"] = int(time.time())

    def require_model(name: str | None) -> None:
        if name not in (None, service.name):
            raise HTTPException(404, f"there is no such model; this server's is {service.name}")

    async def answer(
        ask: Callable[[Any], list[Request]], body: GenerationBody, http: HttpRequest
    ) -> Response:
        require_model(body.model)
        requests = await run_in_threadpool(ask, body)
        return await _Answer(service, body, requests).respond(http)

    @app.post("/v1/completions")
    async def completions(body: CompletionBody, http: HttpRequest) -> Response:
        return await answer(service.completions, body, http)

    @app.post("/v1/chat/completions")
    async def chat(body: ChatBody, http: HttpRequest) -> Response:
        return await answer(service.chat, body, http)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [model]}

    @app.get("/v1/models/{name:path}")
    async def one_model(name: str) -> dict[str, Any]:
        require_model(name)
        return model

    @app.get("/health")
    async def health() -> Response:
        alive = service.engine.alive
        return JSONResponse({"status": "ok" if alive else "failed"}, 200 if alive else 503)

    @app.get("/metrics")
    async def metrics() -> Response:
        return PlainTextResponse(_metrics_text(service))

    return app


def _metrics_text(service: Service) -> str:
    """What the server has done and is doing, in Prometheus' text format."""
    engine, conversations = service.engine, service.conversations
    counters = {f"{name}_total": count for name, count in sorted(engine.counts.items())}
    gauges = {
        "slots": engine.slots,
        "running_samples": engine.running,
        "waiting_requests": engine.waiting,
        "kept_conversations": len(conversations),
        "kept_bytes": conversations.num_bytes,
    }
    lines = []
    for kind, values in (("counter", counters), ("gauge", gauges)):
        for name, value in values.items():
            lines += [f"# TYPE mmrec_{name} {kind}", f"mmrec_{name} {value}"]
    return "\n".join([*lines, ""])


class _BodyLimit:
    """ASGI middleware: no more of a body is read than may be.

    FastAPI's own `max_body_size` puts a text of its own in the place of our response.
    """

    def __init__(self, app: Any, most: int) -> None:
        self._app, self._most = app, most

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        count = 0

        async def counted() -> Any:
            nonlocal count
            message = await receive()
            count += len(message.get("body", b""))
            if count > self._most:
                raise HTTPException(413, f"the body has more than {self._most:,} bytes")
            return message

        await self._app(scope, counted, send)


class _Answer:
    """The response to one body, whole or as a stream of events."""

    def __init__(self, service: Service, body: GenerationBody, requests: list[Request]) -> None:
        self._service, self._body, self._requests = service, body, requests
        prefix, self._kind, self._chunk_kind = body.names
        number = f"{prefix}-{secrets.token_hex(12)}"
        self._head = {"id": number, "created": int(time.time()), "model": service.name}
        self._samples = sum(request.samples for request in requests)
        self._drawn = 0

    async def respond(self, http: HttpRequest) -> Response:
        """Submits the requests; `Busy` if too many wait."""
        queue: asyncio.Queue[Delta] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def deliver(delta: Delta) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(queue.put_nowait, delta)

        self._service.engine.submit(self._requests, deliver)
        deltas = self._deltas(queue)
        if self._body.stream:
            return StreamingResponse(self._events(deltas), media_type="text/event-stream")
        parts: list[list[Delta]] = [[] for _ in range(self._samples)]
        async with contextlib.aclosing(deltas):
            async for delta in deltas:
                if delta.finish == "error" or await http.is_disconnected():
                    return _error(*_FAILED)
                parts[delta.sample].append(delta)
        choices = [self._choice(_joined(each)) for each in parts]
        return JSONResponse(
            {**self._head, "object": self._kind, "choices": choices, "usage": self._usage()}
        )

    async def _deltas(self, queue: asyncio.Queue[Delta]) -> AsyncGenerator[Delta, None]:
        """What is added, until all samples have ended; whoever leaves before that cancels them."""
        left = self._samples
        try:
            while left:
                delta = await queue.get()
                left -= bool(delta.finish)
                self._drawn += delta.tokens
                yield delta
        finally:
            for request in self._requests:
                request.cancelled = True

    async def _events(self, deltas: AsyncGenerator[Delta, None]) -> AsyncIterator[str]:
        head = {**self._head, "object": self._chunk_kind}
        async with contextlib.aclosing(deltas):
            async for delta in deltas:
                if delta.finish == "error":
                    yield _event(_error_body(*_FAILED[1:]))
                    return
                if delta.text or delta.scores or delta.finish:
                    yield _event({**head, "choices": [self._choice(delta, chunk=True)]})
        if self._body.stream_options.include_usage:
            yield _event({**head, "choices": [], "usage": self._usage()})
        yield "data: [DONE]\n\n"

    def _choice(self, delta: Delta, chunk: bool = False) -> dict[str, Any]:
        choice = self._body.choice(self._service.tokenizer, delta, chunk)
        return {"index": delta.sample, **choice, "finish_reason": delta.finish or None}

    def _usage(self) -> dict[str, Any]:
        read = sum(request.length for request in self._requests)
        reused = read - sum(len(request.ids) for request in self._requests)
        return {
            "prompt_tokens": read,
            "completion_tokens": self._drawn,
            "total_tokens": read + self._drawn,
            "prompt_tokens_details": {"cached_tokens": reused},
        }


def _joined(deltas: list[Delta]) -> Delta:
    scores = [score for delta in deltas for score in delta.scores]
    return deltas[-1]._replace(text="".join(delta.text for delta in deltas), scores=scores)


def _event(values: dict[str, Any]) -> str:
    return f"data: {json.dumps(values, ensure_ascii=False)}\n\n"


def _told(error: Exception) -> Response:
    """No error is told in another form, nor with a traceback."""
    match error:
        case UserError():
            return _error(400, str(error))
        case RequestValidationError():
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"][1:]))
            return _error(400, f"body {where}: {first['msg']}", param=where)
        case Busy():
            return _error(429, "too many requests are waiting", "rate_limit_error")
        case HTTPException():
            return _error(error.status_code, error.detail)
    return _error(*_FAILED)


def _error(
    status: int, message: str, kind: str = "invalid_request_error", param: str | None = None
) -> Response:
    # In ASCII, since a message may quote what is no Unicode.
    body = json.dumps(_error_body(message[:500], kind, param))
    headers = {"Retry-After": "1"} if status == 429 else None
    return Response(body, status, headers, media_type="application/json")


def _error_body(message: str, kind: str, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": None}}

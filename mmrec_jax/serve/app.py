"""The server's HTTP side: routes, errors in OpenAI's form, streams of events."""

import asyncio
import contextlib
import json
import secrets
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi import Request as HttpRequest
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from mmrec_jax.errors import UserError
from mmrec_jax.serve.engine import Busy, Delta, Engine, Request
from mmrec_jax.serve.metrics import metrics_text
from mmrec_jax.serve.protocol import (
    ChatBody,
    CompletionBody,
    GenerationBody,
    chat_choice,
    completion_choice,
)
from mmrec_jax.serve.service import Service

_Deltas = AsyncGenerator[tuple[int, Delta], None]
_Choice = Callable[..., dict[str, Any]]
_FAILED = 500, "the server failed, and its log says why", "server_error"
_PATHS = "/v1/completions", "/v1/chat/completions", "/v1/models", "/health", "/metrics"


def create_app(service: Service) -> FastAPI:
    """The application, whose shutdown closes the engine that was started before."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(service.engine.close)

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    for kind in (UserError, Busy, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _handle)
    responses: Counter[tuple[str, int]] = Counter()
    app.add_middleware(_Gate, most=service.limits.max_body_kb * 1024, responses=responses)
    model: dict[str, Any] = {"id": service.name, "object": "model", "owned_by": "mmrec_jax"}
    model["created"] = int(time.time())

    def require_model(name: str | None) -> None:
        if name not in (None, service.name):
            raise HTTPException(404, f"there is no such model; this server's is {service.name}")

    @app.post("/v1/completions")
    async def completions(body: CompletionBody, http: HttpRequest) -> Response:
        require_model(body.model)
        requests = await run_in_threadpool(service.completions, body)
        return await _Answer(service, body, requests, completion_choice).respond(http)

    @app.post("/v1/chat/completions")
    async def chat(body: ChatBody, http: HttpRequest) -> Response:
        require_model(body.model)
        requests = await run_in_threadpool(service.chat, body)
        return await _Answer(service, body, requests, chat_choice).respond(http)

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
        return PlainTextResponse(metrics_text(service.engine, service.conversations, responses))

    return app


class _Answer:
    """The response to one body, whole or as a stream of events."""

    def __init__(
        self, service: Service, body: GenerationBody, requests: list[Request], choice: _Choice
    ) -> None:
        self._service, self._body, self._requests, self._form = service, body, requests, choice
        self._drawn = 0
        chat = choice is chat_choice
        self._kind = "chat.completion" if chat else "text_completion"
        self._chunk_kind = "chat.completion.chunk" if chat else "text_completion"
        self._head = {
            "id": f"{'chatcmpl' if chat else 'cmpl'}-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": service.name,
        }

    async def respond(self, http: HttpRequest) -> Response:
        """Submits the requests; `Busy` if too many wait."""
        deltas = _submit(self._service.engine, self._requests)
        if self._body.stream:
            return StreamingResponse(self._events(deltas), media_type="text/event-stream")
        parts: list[list[Delta]] = [[] for _ in range(self._body.n * len(self._requests))]
        async with contextlib.aclosing(deltas):
            async for index, delta in deltas:
                if delta.finish == "error" or await http.is_disconnected():
                    return _error(*_FAILED)
                parts[index].append(delta)
        choices = []
        for index, each in enumerate(parts):
            self._drawn += sum(delta.tokens for delta in each)
            scores = [score for delta in each for score in delta.scores]
            whole = Delta(index, "".join(delta.text for delta in each), scores)
            choices.append(self._choice(index, whole._replace(finish=each[-1].finish)))
        return JSONResponse(
            {**self._head, "object": self._kind, "choices": choices, "usage": self._usage()}
        )

    async def _events(self, deltas: _Deltas) -> AsyncIterator[str]:
        head = {**self._head, "object": self._chunk_kind}
        async with contextlib.aclosing(deltas):
            async for index, delta in deltas:
                if delta.finish == "error":
                    yield _event(_error_body(*_FAILED[1:]))
                    return
                self._drawn += delta.tokens
                if delta.text or delta.scores or delta.finish:
                    yield _event({**head, "choices": [self._choice(index, delta, chunk=True)]})
        if self._body.stream_options.include_usage:
            yield _event({**head, "choices": [], "usage": self._usage()})
        yield "data: [DONE]\n\n"

    def _choice(self, index: int, delta: Delta, chunk: bool = False) -> dict[str, Any]:
        scores = None if self._body.scores is None else delta.scores
        choice = self._form(self._service.tokenizer, delta.text, scores, chunk)
        return {"index": index, **choice, "finish_reason": delta.finish or None}

    def _usage(self) -> dict[str, Any]:
        reused = sum(each.before.length for each in self._requests if each.before)
        read = sum(len(each.ids) for each in self._requests) + reused
        return {
            "prompt_tokens": read,
            "completion_tokens": self._drawn,
            "total_tokens": read + self._drawn,
            "prompt_tokens_details": {"cached_tokens": reused},
        }


def _submit(engine: Engine, requests: Sequence[Request]) -> _Deltas:
    """Queues the requests; then what is added to their choices, by index, until all have ended.

    Whoever leaves before that cancels them.

    Raises:
      Busy: too many wait already.
    """
    queue: asyncio.Queue[tuple[int, Delta]] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def deliver_from(first: int) -> Callable[[Delta], None]:
        def deliver(delta: Delta) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(queue.put_nowait, (first + delta.sample, delta))

        return deliver

    count = 0
    for request in requests:
        request.deliver = deliver_from(count)
        count += request.samples
    engine.submit(requests)

    async def deltas() -> _Deltas:
        left = count
        try:
            while left:
                index, delta = await queue.get()
                left -= bool(delta.finish)
                yield index, delta
        finally:
            for request in requests:
                request.cancelled = True

    return deltas()


def _event(values: dict[str, Any]) -> str:
    return f"data: {json.dumps(values, ensure_ascii=False)}\n\n"


async def _handle(_: HttpRequest, error: Exception) -> Response:
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


class _Gate:
    """ASGI middleware: only bodies of a limited size pass, and responses are counted."""

    def __init__(self, app: Any, most: int, responses: Counter[tuple[str, int]]) -> None:
        self._app, self._most, self._responses = app, most, responses

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def counted(message: Any) -> None:
            if message["type"] == "http.response.start":
                path = scope["path"] if scope["path"] in _PATHS else "other"
                self._responses[path, message["status"]] += 1
            await send(message)

        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body, more = bytearray(), True
        while more and len(body) <= self._most:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        messages = [{"type": "http.request", "body": bytes(body)}]

        async def replayed() -> Any:
            return messages.pop() if messages else await receive()

        if len(body) <= self._most:
            await self._app(scope, replayed, counted)
        else:
            response = _error(413, f"the body has more than {self._most:,} bytes")
            await response(scope, receive, counted)

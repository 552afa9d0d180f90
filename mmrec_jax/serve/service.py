"""From the bodies of requests to what the engine is to write."""

import secrets
from typing import Any

import numpy as np

from mmrec_jax.errors import UserError
from mmrec_jax.inference.chat import chat_encoder, response_ends
from mmrec_jax.inference.generate import document_ids
from mmrec_jax.inference.prefill import TextState
from mmrec_jax.inference.sampling import Sampling
from mmrec_jax.models.api import LanguageModel, Params
from mmrec_jax.serve.conversations import Conversations
from mmrec_jax.serve.engine import Engine, Request
from mmrec_jax.serve.limits import Limits
from mmrec_jax.serve.protocol import ChatBody, CompletionBody, GenerationBody
from mmrec_jax.tokenizers.conversation import Message
from mmrec_jax.tokenizers.tokenizer import Tokenizer


class Service:
    """One model, its engine, and what it knows of conversations."""

    def __init__(
        self, model: LanguageModel, params: Params, tokenizer: Tokenizer, name: str, limits: Limits
    ) -> None:
        """`name` is what requests call the model."""
        self.name, self.limits, self.tokenizer = name, limits, tokenizer
        self.conversations = Conversations(limits.state_mb * 2**20)
        self._encoder = chat_encoder(tokenizer) if tokenizer.chat_template else None
        most = {"slots": limits.slots, "most_waiting": limits.max_waiting}
        self.engine = Engine(model, params, tokenizer, **most)

    def completions(self, body: CompletionBody) -> list[Request]:
        """One request for each prompt.

        Raises:
          UserError: the tokenizer cannot spell a prompt, or a limit is exceeded.
        """
        requests = []
        for prompt in body.prompt:
            if isinstance(prompt, str):
                ids = document_ids(self.tokenizer, prompt)
            else:
                ids = np.array(prompt, np.int32)
                _require("an id of the prompt", ids.max(), self.tokenizer.vocab_size - 1)
            more = {"scores": body.logprobs, "ends": self.tokenizer.ends}
            requests.append(self._request(body, ids, body.max_tokens, **more))
        _require("n, times the number of prompts,", body.n * len(requests), self.limits.slots)
        return requests

    def chat(self, body: ChatBody) -> list[Request]:
        """The request for the response.

        Raises:
          UserError: the model has no template, it refuses the messages, or a limit is exceeded.
        """
        encoder = self._encoder or chat_encoder(self.tokenizer)
        messages = [message.message for message in body.messages]
        if messages[-1].role != "user":
            raise UserError("messages: the last one must be the user's")

        def keep(text: str, state: TextState) -> None:
            response = Message("assistant", text)
            if response.text == text:  # else what the model wrote is not what it will be shown
                self.conversations.keep([*messages, response], state)

        more: dict[str, Any] = {"ends": response_ends(encoder), "keep": keep}
        more["scores"] = body.top_logprobs if body.logprobs else None
        ids = encoder.question(messages)
        for index, state in self.conversations.states(messages):
            rest = encoder.after_response(messages, index)
            if rest is not None:
                ids, more["before"] = rest, state
                break
        most = body.max_completion_tokens or body.max_tokens or self.limits.max_tokens
        return [self._request(body, ids, most, **more)]

    def _request(
        self, body: GenerationBody, ids: np.ndarray, max_tokens: int, **more: Any
    ) -> Request:
        request = Request(
            ids,
            max_tokens,
            stops=body.stop,
            sampling=Sampling(body.temperature, body.top_k, body.top_p, body.repetition_penalty),
            seed=secrets.randbits(32) if body.seed is None else body.seed,
            samples=body.n,
            **more,
        )
        _require("the prompt's number of tokens", request.length, self.limits.max_prompt)
        _require("max_tokens", max_tokens, self.limits.max_tokens)
        _require("n", body.n, self.limits.slots)
        return request


def _require(what: str, count: int, most: int) -> None:
    if count > most:
        raise UserError(f"{what} is {count:,}; the most is {most:,}")

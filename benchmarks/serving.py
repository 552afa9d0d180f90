"""Throughput of `mmrec serve` at several numbers of streams, and whether any is lost or wrong.

python -m benchmarks.serving --workdir=runs/tiny --log=benchmarks/logs/serving.jsonl

Each stream asks for the continuation of a prompt at temperature 0, and for the next one as soon as
it has ended. Every text is compared with the one that `generate` writes.
"""

import argparse
import contextlib
import http.client
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import mmrec_jax
from benchmarks.markdown import header, row
from mmrec_jax.data.treebank import treebank_documents
from mmrec_jax.inference.sampling import Sampling

_TOKENS = 64
_PROMPTS = 64


def main() -> None:
    """Prints a table, and appends its rows to a log."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--slots", type=int, default=32)
    parser.add_argument("--log", type=Path)
    options = parser.parse_args()
    model, params, tokenizer = mmrec_jax.load(options.workdir)
    documents = [document.text for document in treebank_documents()][:_PROMPTS]
    prompts = [" ".join(text.split()[:12]) for text in documents]
    greedy = Sampling(temperature=0.0)
    texts = {}
    begin = time.perf_counter()
    for index, prompt in enumerate(prompts):
        if index == 1:  # with the first one all was compiled
            begin = time.perf_counter()
        texts[prompt] = mmrec_jax.generate(
            model, params, tokenizer, prompt, max_tokens=_TOKENS, sampling=greedy
        )[0]
    alone = (_PROMPTS - 1) / (time.perf_counter() - begin)
    print(f"generate, one text after another: {alone:.1f} texts/s")
    names = ["streams", "texts", "lost", "other text", "texts/s", "tokens/s", "x generate"]
    print(*header([*names, "first token, ms: median, 95 %"]), sep="\n")
    with _serving(options.workdir, options.slots) as port:
        for streams in options.streams:
            facts = _measure(port, texts, streams, options.seconds)
            facts |= {"slots": options.slots, "generate_texts_per_second": alone}
            rate = facts["texts"] / facts["seconds"]
            first = np.percentile(facts["first_seconds"], [50, 95]) * 1000
            entries = [streams, facts["texts"], facts["lost"], facts["other"], f"{rate:.1f}"]
            entries += [f"{facts['tokens'] / facts['seconds']:,.0f}", f"{rate / alone:.2f}"]
            print(row([*map(str, entries), f"{first[0]:.0f}, {first[1]:.0f}"]), flush=True)
            if options.log:
                facts["first_seconds"] = [round(x, 4) for x in facts["first_seconds"]]
                with options.log.open("a", encoding="utf-8") as log:
                    log.write(json.dumps(facts) + "\n")


@contextlib.contextmanager
def _serving(workdir: str, slots: int) -> Iterator[int]:
    """The port of a server in a process of its own."""
    code = "import sys; from mmrec_jax.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "serve", f"--workdir={workdir}", "--port=0"]
    with subprocess.Popen(
        [*command, f"--slots={slots}"], stdout=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().split()[-1]
            port = int(url.removesuffix("/v1").rpartition(":")[2])
            _ask(port, "a")  # it listens before the engine has compiled
            yield port
        finally:
            process.terminate()


def _measure(port: int, texts: dict[str, str], streams: int, seconds: float) -> dict[str, Any]:
    """So many streams at once for so long."""
    end = time.monotonic() + seconds
    facts: dict[str, Any] = {"streams": streams, "texts": 0, "lost": 0, "other": 0, "tokens": 0}
    facts["first_seconds"] = []
    lock = threading.Lock()

    def stream(number: int) -> None:
        prompts = list(texts)
        for turn in range(number, sys.maxsize, streams):
            if time.monotonic() > end:
                return
            prompt = prompts[turn % len(prompts)]
            try:
                text, tokens, first = _ask(port, prompt)
            except (OSError, ValueError, http.client.HTTPException):
                with lock:
                    facts["lost"] += 1
                continue
            with lock:
                facts["texts"] += 1
                facts["tokens"] += tokens
                facts["other"] += text != texts[prompt]
                facts["first_seconds"].append(first)

    threads = [threading.Thread(target=stream, args=(number,)) for number in range(streams)]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return facts | {"seconds": time.monotonic() - begin}


def _ask(port: int, prompt: str) -> tuple[str, int, float]:
    """The text, its tokens, and the seconds until the first event.

    Raises:
      ValueError: the response is no complete stream.
    """
    body = {"prompt": prompt, "temperature": 0, "max_tokens": _TOKENS, "stream": True}
    body["stream_options"] = {"include_usage": True}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=900)
    with contextlib.closing(connection):
        begin = time.monotonic()
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/v1/completions", json.dumps(body), headers)
        response = connection.getresponse()
        parts: list[str] = []
        first, tokens = 0.0, 0
        for line in response:
            if not line.startswith(b"data: "):
                continue
            first = first or time.monotonic() - begin
            if line.startswith(b"data: [DONE]"):
                return "".join(parts), tokens, first
            event = json.loads(line[6:])
            if event["choices"]:
                parts.append(event["choices"][0]["text"])
            else:
                tokens = event["usage"]["completion_tokens"]
    raise ValueError("the stream was cut off")


if __name__ == "__main__":
    main()

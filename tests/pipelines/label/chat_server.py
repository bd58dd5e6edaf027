"""An OpenAI-compatible server on loopback around the tiny model, in a process of its own.

It shares no code with the backends: prompts by the tokenizer's own chat template, one at a time, the model's plain
forward pass over the whole text for every token. `/v1/chat/completions` knows messages, max_tokens, logprobs,
top_logprobs, and `structured_outputs: {"choice": [...]}` of one-token choices.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
NAME = "tiny"


@contextmanager
def chat_server(model: Path) -> Iterator[str]:
    """A running server; its base_url."""
    command = [sys.executable, __file__, str(model)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("http://127.0.0.1:"), "the server did not start"
        yield url
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


class Chat:
    """The model, one answer at a time."""

    def __init__(self, folder: str) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(1)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request's body."""
        import torch

        chat = self.tokenizer.apply_chat_template(body["messages"], add_generation_prompt=True, return_tensors="pt")
        ids = chat["input_ids"]
        prompt_tokens = ids.shape[1]
        structured = body.get("structured_outputs", {})
        if set(structured) - {"choice"}:
            return {"error": {"message": f"structured_outputs: {sorted(structured)} is not supported", "code": 400}}
        allowed = [self.tokenizer.convert_tokens_to_ids(text) for text in structured.get("choice", [])]
        told = []
        for _ in range(body.get("max_tokens", 16)):
            with torch.inference_mode():
                logprobs = torch.log_softmax(self.model(ids).logits[0, -1], dim=-1)
            among = torch.full_like(logprobs, -torch.inf)
            among[allowed] = logprobs[allowed]
            token = int((among if allowed else logprobs).argmax())
            if token == self.tokenizer.eos_token_id:
                break
            told.append(self._told(token, logprobs, body.get("top_logprobs", 0)))
            ids = torch.cat([ids, torch.tensor([[token]])], dim=1)
            if allowed:
                break
        written = ids[0, prompt_tokens:]
        return {
            "object": "chat.completion",
            "model": NAME,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": self.tokenizer.decode(written)},
                    "finish_reason": "stop",
                    "logprobs": {"content": told} if body.get("logprobs") else None,
                }
            ],
            "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": len(written)},
        }

    def _told(self, token: int, logprobs: Any, top: int) -> dict[str, Any]:
        best = logprobs.topk(top).indices.tolist()
        return {**self._token(token, logprobs), "top_logprobs": [self._token(other, logprobs) for other in best]}

    def _token(self, token: int, logprobs: Any) -> dict[str, Any]:
        return {"token": self.tokenizer.decode([token]), "logprob": float(logprobs[token])}


async def serve(folder: str) -> None:
    """Serve until the process is ended; the first line of output is the base_url."""
    from aiohttp import web

    chat = Chat(folder)

    async def complete(request: web.Request) -> web.Response:
        said = chat.complete(await request.json())
        return web.json_response(said, status=400 if "error" in said else 200)

    app = web.Application()
    app.router.add_post("/v1/chat/completions", complete)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    print(f"http://127.0.0.1:{port}/v1", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))

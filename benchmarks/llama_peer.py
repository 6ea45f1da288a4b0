"""The peer's side of the LLaMA benchmark: transformers on PyTorch's CPU build, run by its own interpreter."""

from __future__ import annotations

import os
import platform
import time
from typing import Any

import numpy as np
import torch
import transformers
from llama_work import Trainer, arguments, prompts, serve, training_tokens

SETTING, FOLDER = arguments()
torch.set_num_threads(len(os.sched_getaffinity(0)))


class Side(Trainer):
    def load(self) -> dict[str, Any]:
        self.model = self.read()
        self.decoder = self.read().eval()  # keeps the first weights, as the other side's engine does
        self.cache: dict[int, str | None] = {}
        self.steps = 0
        matrices = [p for p in self.model.parameters() if p.ndim > 1]
        others = [p for p in self.model.parameters() if p.ndim <= 1]
        groups = [
            {"params": matrices, "weight_decay": SETTING["weight_decay"]},
            {"params": others, "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=SETTING["learning_rate"], betas=(0.9, 0.95), eps=1e-8, fused=True)
        return {}

    def read(self) -> Any:
        return transformers.LlamaForCausalLM.from_pretrained(
            str(FOLDER), dtype=torch.float32, attn_implementation="sdpa"
        )

    def logits(self, out: str) -> dict[str, Any]:
        with torch.inference_mode():
            logits = self.decoder(torch.from_numpy(training_tokens(SETTING, 0)[:1])).logits
        np.save(out, logits.float().numpy())
        return {}

    def one_step(self) -> float:
        tokens = torch.from_numpy(training_tokens(SETTING, self.steps))
        self.model.train()
        loss = self.model(input_ids=tokens, labels=tokens, use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), SETTING["clip_norm"])
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.steps += 1
        return loss.item()

    def decode(self, rows: int, cache: str | None) -> tuple[float, Any]:
        given = torch.from_numpy(prompts(SETTING, rows))
        count = SETTING["new_tokens"]
        options = {"cache_implementation": cache, "disable_compile": True} if cache else {}
        start = time.perf_counter()
        with torch.inference_mode():
            out = self.decoder.generate(
                given,
                attention_mask=torch.ones_like(given),
                max_new_tokens=count,
                min_new_tokens=count,
                do_sample=False,
                eos_token_id=None,
                pad_token_id=0,
                **options,
            )
        return time.perf_counter() - start, out[:, given.shape[1] :]

    def generate(self, rows: int, times: int) -> dict[str, Any]:
        if rows not in self.cache:  # whichever cache is faster here, best of two each
            trials = {cache: min(self.decode(rows, cache)[0] for _ in range(2)) for cache in (None, "static")}
            self.cache[rows] = min(trials, key=lambda cache: trials[cache])
        runs = [self.decode(rows, self.cache[rows]) for _ in range(times)]
        return {"seconds": [seconds for seconds, _ in runs], "tokens": runs[-1][1].tolist()}

    def about(self) -> dict[str, Any]:
        return {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "threads": torch.get_num_threads(),
            "attention": "sdpa",
            "optimizer": "AdamW, fused",
            "cache": {f"batch{rows}": cache or "dynamic" for rows, cache in self.cache.items()},
        }


if __name__ == "__main__":
    serve(Side(SETTING))

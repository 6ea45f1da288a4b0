"""The peer's side of the SpeechTokenizer benchmark: the same codec in plain PyTorch, run by its own interpreter.

Written as one would write it for inference: folded weight norm, `nn.Conv1d`, `nn.LSTM`, distances by one product.
Arrays have the published names, so that it reads what our exporter wrote.
"""

from __future__ import annotations

import math
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from llama_work import serve
from safetensors.torch import load_file
from speech_tokenizer_work import SETTING, codes, sounds
from torch import Tensor, nn


def folded(arrays: dict[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    g, v = arrays[f"{name}.weight_g"], arrays[f"{name}.weight_v"]
    return g * v / v.flatten(1).norm(dim=1)[:, None, None], arrays[f"{name}.bias"]


class Conv(nn.Module):
    def __init__(self, arrays: dict[str, Tensor], name: str, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        weight, bias = folded(arrays, f"{name}.conv.conv")
        self.conv = nn.Conv1d(weight.shape[1], weight.shape[0], weight.shape[2], stride, dilation=dilation)
        self.conv.weight.data, self.conv.bias.data = weight, bias

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv
        size, stride = (conv.kernel_size[0] - 1) * conv.dilation[0] + 1, conv.stride[0]
        total = size - stride
        frames = math.ceil((x.shape[-1] - size + total) / stride + 1)
        extra = (frames - 1) * stride + size - total - x.shape[-1]
        right = total // 2
        return conv(F.pad(x, (total - right, right + extra), mode="reflect"))


class ConvTranspose(nn.Module):
    def __init__(self, arrays: dict[str, Tensor], name: str, stride: int) -> None:
        super().__init__()
        weight, bias = folded(arrays, f"{name}.convtr.convtr")
        self.conv = nn.ConvTranspose1d(weight.shape[0], weight.shape[1], weight.shape[2], stride)
        self.conv.weight.data, self.conv.bias.data = weight, bias
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        right = self.stride // 2
        y = self.conv(x)
        return y[..., self.stride - right : y.shape[-1] - right]


class Residual(nn.Module):
    def __init__(self, arrays: dict[str, Tensor], name: str) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.ELU(), Conv(arrays, f"{name}.block.1"), nn.ELU(), Conv(arrays, f"{name}.block.3"))
        self.shortcut = Conv(arrays, f"{name}.shortcut")

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.block(x)


class SkipLSTM(nn.Module):
    def __init__(self, arrays: dict[str, Tensor], name: str, both: bool) -> None:
        super().__init__()
        own = {key.removeprefix(f"{name}.lstm."): value for key, value in arrays.items() if key.startswith(f"{name}.")}
        width = own["weight_hh_l0"].shape[1]
        self.lstm = nn.LSTM(width, width, SETTING["lstm_layers"], batch_first=True, bidirectional=both)
        self.lstm.load_state_dict(own)
        self.both = both

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        y, _ = self.lstm(x)
        return (y + (x.repeat(1, 1, 2) if self.both else x)).transpose(1, 2)


def encoder(arrays: dict[str, Tensor]) -> nn.Sequential:
    at = "encoder.model."
    layers: list[nn.Module] = [Conv(arrays, at + "0")]
    for i, stride in enumerate(reversed(SETTING["strides"])):
        layers += [Residual(arrays, f"{at}{3 * i + 1}"), nn.ELU(), Conv(arrays, f"{at}{3 * i + 3}", stride)]
    return nn.Sequential(*layers, SkipLSTM(arrays, at + "13", both=True), nn.ELU(), Conv(arrays, at + "15"))


def decoder(arrays: dict[str, Tensor]) -> nn.Sequential:
    at = "decoder.model."
    layers: list[nn.Module] = [Conv(arrays, at + "0"), SkipLSTM(arrays, at + "1", both=False)]
    for i, stride in enumerate(SETTING["strides"]):
        layers += [nn.ELU(), ConvTranspose(arrays, f"{at}{3 * i + 3}", stride), Residual(arrays, f"{at}{3 * i + 4}")]
    return nn.Sequential(*layers, nn.ELU(), Conv(arrays, at + "15"))


class Side:
    def load(self, folder: str) -> dict[str, Any]:
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        torch.set_grad_enabled(False)
        arrays = load_file(Path(folder) / "weights.safetensors")
        self.encoder, self.decoder = encoder(arrays).eval(), decoder(arrays).eval()
        self.books = [arrays[f"quantizer.vq.layers.{i}._codebook.embed"] for i in range(SETTING["layers"])]
        return {}

    def encode(self, rows: int, out: str = "") -> dict[str, Any]:
        given = torch.from_numpy(sounds(rows))
        start = time.perf_counter()
        residual = self.encoder(given[:, None]).transpose(1, 2)
        made = []
        for book in self.books:
            distance = book.square().sum(1) - 2 * residual @ book.T
            made.append(distance.argmin(-1))
            residual = residual - book[made[-1]]
        found = torch.stack(made, 1).numpy()
        seconds = time.perf_counter() - start
        if out:
            np.save(out, found)
        return {"seconds": seconds}

    def decode(self, rows: int, out: str = "") -> dict[str, Any]:
        given = torch.from_numpy(codes(rows))
        start = time.perf_counter()
        features = sum(book[given[:, i]] for i, book in enumerate(self.books))
        made = self.decoder(features.transpose(1, 2))[:, 0].clamp(-1, 1).numpy()
        seconds = time.perf_counter() - start
        if out:
            np.save(out, made)
        return {"seconds": seconds}

    def about(self) -> dict[str, Any]:
        return {"python": platform.python_version(), "torch": torch.__version__, "threads": torch.get_num_threads()}


if __name__ == "__main__":
    serve(Side())

"""The peer's side of the Unified-IO 2 benchmark: the same model in plain PyTorch, run by its own interpreter.

Written as one would write it for PyTorch: `nn.Linear`, `scaled_dot_product_attention`, fused AdamW. Parameters have the
published names, so that it reads what our exporter wrote. All places are filled, so no padding is masked.
"""

from __future__ import annotations

import os
import platform
from typing import Any

import torch
import torch.nn.functional as F
from llama_work import Trainer, arguments, serve
from safetensors.torch import load_file
from torch import Tensor, nn
from unified_io2_work import PATCH, RESERVED, batch

SECOND = 2  # layers of a ViT whose states go beside the last ones
Angles = tuple[Tensor, Tensor]


class RMSNorm(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.scale.shape, self.scale, 1e-6)


def rotate(x: Tensor, angles: Angles) -> Tensor:
    """[B, H, T, d] by cos and sin [T, d / 2], adjacent numbers in pairs."""
    cos, sin = angles
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack([even * cos - odd * sin, odd * cos + even * sin], dim=-1).flatten(-2)


def line(positions: Tensor, head_dim: int) -> Angles:
    angles = positions.float()[:, None] * 10_000.0 ** (-torch.arange(0, head_dim, 2).float() / head_dim)
    return angles.cos(), angles.sin()


def plane(rows: Tensor, columns: Tensor, head_dim: int) -> Angles:
    (a, b), (c, d) = line(rows, head_dim // 2), line(columns, head_dim // 2)
    return torch.cat([a, c], dim=-1), torch.cat([b, d], dim=-1)


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(dim, heads * head_dim, bias=False) for _ in range(3))
        self.out = nn.Linear(heads * head_dim, dim, bias=False)
        self.query_norm, self.key_norm = RMSNorm(head_dim), RMSNorm(head_dim)
        self.heads = heads

    def forward(
        self, x: Tensor, of: Tensor, at: Angles | None = None, where: Angles | None = None, mask: Tensor | None = None
    ) -> Tensor:
        q, k, v = (m(y).unflatten(-1, (self.heads, -1)) for m, y in ((self.query, x), (self.key, of), (self.value, of)))
        q, k, v = self.query_norm(q).transpose(1, 2), self.key_norm(k).transpose(1, 2), v.transpose(1, 2)
        if at is not None and where is not None:
            q, k = rotate(q, at), rotate(k, where)
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(seen.transpose(1, 2).flatten(-2))


class GatedMLP(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.wi_0, self.wi_1 = nn.Linear(dim, hidden, bias=False), nn.Linear(dim, hidden, bias=False)
        self.wo = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.wo(F.silu(self.wi_0(x)) * self.wi_1(x))


class PlainMLP(nn.Module):
    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.wi, self.wo = nn.Linear(dim, hidden, bias=False), nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.wo(F.gelu(self.wi(x), approximate="tanh"))


class EncoderLayer(nn.Module):
    def __init__(self, s: dict[str, Any]) -> None:
        super().__init__()
        self.pre_attention_norm, self.pre_mlp_norm = RMSNorm(s["dim"]), RMSNorm(s["dim"])
        self.attention = Attention(s["dim"], s["heads"], s["head_dim"])
        self.mlp = GatedMLP(s["dim"], s["mlp_dim"])

    def forward(self, x: Tensor, at: Angles) -> Tensor:
        y = self.pre_attention_norm(x)
        x = x + self.attention(y, y, at, at)
        return x + self.mlp(self.pre_mlp_norm(x))


class DecoderLayer(nn.Module):
    def __init__(self, s: dict[str, Any]) -> None:
        super().__init__()
        self.pre_self_attention_norm, self.pre_cross_attention_norm, self.pre_mlp_norm = (
            RMSNorm(s["dim"]) for _ in range(3)
        )
        self.self_attention = Attention(s["dim"], s["heads"], s["head_dim"])
        self.encoder_decoder_attention = Attention(s["dim"], s["heads"], s["head_dim"])
        self.mlp = GatedMLP(s["dim"], s["mlp_dim"])

    def forward(self, x: Tensor, at: Angles, mask: Tensor, encoded: Tensor, where: Angles) -> Tensor:
        y = self.pre_self_attention_norm(x)
        x = x + self.self_attention(y, y, at, at, mask)
        x = x + self.encoder_decoder_attention(self.pre_cross_attention_norm(x), encoded, at, where)
        return x + self.mlp(self.pre_mlp_norm(x))


class Stack(nn.Module):
    """Layers by name (`layers_0`, ...) and a norm behind them."""

    def __init__(self, layers: list[nn.Module], norm: str, dim: int) -> None:
        super().__init__()
        self.depth, self.norm_name = len(layers), norm
        for i, layer in enumerate(layers):
            setattr(self, f"layers_{i}", layer)
        setattr(self, norm, RMSNorm(dim))

    def forward(self, x: Tensor, *shared: Any) -> Tensor:
        for i in range(self.depth):
            x = getattr(self, f"layers_{i}")(x, *shared)
        return getattr(self, self.norm_name)(x)


class BiasedAttention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        for name in ("query", "key", "value"):
            setattr(self, f"{name}_in_proj_weight", nn.Parameter(torch.empty(dim, dim)))
            setattr(self, f"{name}_in_proj_bias", nn.Parameter(torch.empty(dim)))
        self.out_proj = nn.Linear(dim, dim)
        self.heads = heads

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            F.linear(x, getattr(self, f"{name}_in_proj_weight"), getattr(self, f"{name}_in_proj_bias"))
            .unflatten(-1, (self.heads, -1))
            .transpose(1, 2)
            for name in ("query", "key", "value")
        )
        return self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(-2))


class Block(nn.Module):
    def __init__(self, v: dict[str, Any], eps: float, gelu: str) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(v["dim"], eps=eps), nn.LayerNorm(v["dim"], eps=eps)
        self.attn = BiasedAttention(v["dim"], v["heads"])
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(v["dim"], v["mlp_dim"]), "fc2": nn.Linear(v["mlp_dim"], v["dim"])})
        self.gelu = gelu

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.ln_2(x)), approximate=self.gelu))


class ViT(nn.Module):
    """Frozen: of pictures (OpenCLIP's layout) or of log-mels (AST's)."""

    def __init__(self, s: dict[str, Any], kind: str) -> None:
        super().__init__()
        v, (height, width) = s["vit"], s["grids"][kind]
        image = kind == "image"
        rows = height * width + 1 if image else s["ast_rows"]
        self.embedding = nn.Linear(PATCH[kind], v["dim"], bias=not image)
        for name in ("class_embedding",) if image else ("cls_token", "dist_token"):
            setattr(self, name, nn.Parameter(torch.empty(v["dim"])))
        self.positional_embedding = nn.Parameter(torch.empty(rows, v["dim"]))
        if image:
            self.pre_ln = nn.LayerNorm(v["dim"], eps=1e-5)
        blocks = [Block(v, 1e-5 if image else 1e-6, "none" if image else "tanh") for _ in range(v["depth"])]
        self.transformer = nn.ModuleDict({"resblocks": nn.ModuleList(blocks)})
        self.grid, self.image = (height, width), image

    @torch.no_grad()
    def forward(self, patches: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        x = self.embedding(patches)
        if self.image:
            own = self.class_embedding[None] + self.positional_embedding[:1]
            x = x + self.positional_embedding[1 + ids]
        else:
            times, mels = self.grid
            own = torch.stack([self.cls_token, self.dist_token]) + self.positional_embedding[:2]
            x = x + self.positional_embedding[2 + ids % mels * times + ids // mels]
        x = torch.cat([own.expand(len(x), -1, -1), x], dim=1)
        if self.image:
            x = self.pre_ln(x)
        second = x
        for i, block in enumerate(self.transformer["resblocks"]):
            x = block(x)
            if i == SECOND - 1:
                second = x
        return x[:, len(own) :], second[:, len(own) :]


class Patches(nn.Module):
    def __init__(self, s: dict[str, Any], kind: str) -> None:
        super().__init__()
        self.image_encoder = nn.ModuleDict({"vision_transformer": ViT(s, kind)})
        self.projection = nn.Linear(2 * s["vit"]["dim"], s["dim"], bias=False)
        self.modality_embedding = nn.Parameter(torch.empty(s["dim"]))

    def forward(self, patches: Tensor, ids: Tensor) -> Tensor:
        both = torch.cat(self.image_encoder["vision_transformer"](patches, ids), dim=-1)
        return self.projection(both) + self.modality_embedding


class PerceiverLayer(nn.Module):
    def __init__(self, r: dict[str, Any]) -> None:
        super().__init__()
        self.pre_xattention_norm, self.pre_mlp_norm = RMSNorm(r["dim"]), RMSNorm(r["dim"])
        self.xattention = Attention(r["dim"], r["heads"], r["head_dim"])
        self.mlp = PlainMLP(r["dim"], r["mlp_dim"])

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        x = x + self.xattention(self.pre_xattention_norm(x), context)
        return x + self.mlp(self.pre_mlp_norm(x))


class Perceiver(Stack):
    def __init__(self, s: dict[str, Any], kind: str) -> None:
        r = s["resampler"]
        super().__init__([PerceiverLayer(r) for _ in range(2)], "perceiver_norm", r["dim"])
        self.latents = nn.Parameter(torch.empty(s["latents"][kind], r["dim"]))
        self.context_norm = RMSNorm(r["dim"])

    def forward(self, x: Tensor, *shared: Any) -> Tensor:
        return super().forward(self.latents.expand(len(x), -1, -1), self.context_norm(x))


class History(nn.Module):
    def __init__(self, s: dict[str, Any], kind: str) -> None:
        super().__init__()
        width = s["resampler"]["dim"]
        self.pre_projection = nn.Linear(s["vit"]["dim"], width, bias=False)
        self.resampler = nn.ModuleDict({"perceiver": Perceiver(s, kind)})
        self.post_projection = nn.Linear(width, s["dim"], bias=False)
        self.modality_embedding = nn.Parameter(torch.empty(s["dim"]))

    def forward(self, patches: Tensor, ids: Tensor, vit: ViT) -> Tensor:
        rows = len(patches)
        last, _ = vit(patches.flatten(0, 1), ids.flatten(0, 1))
        latents = self.post_projection(self.resampler["perceiver"](self.pre_projection(last)))
        return latents.unflatten(0, (rows, -1)).flatten(1, 2) + self.modality_embedding


class Vector(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.modality_embedding = nn.Parameter(torch.empty(dim))


class Table(nn.Module):
    def __init__(self, rows: int, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, dim))


class UnifiedIO2(nn.Module):
    def __init__(self, s: dict[str, Any]) -> None:
        super().__init__()
        for kind, rows in s["vocab"].items():
            setattr(self, f"{kind}_token_embedder", Table(rows, s["dim"]))
        fronts: dict[str, nn.Module] = {"text": Vector(s["dim"])}
        for kind in ("image", "audio"):
            fronts |= {kind: Patches(s, kind), f"{kind}_history": History(s, kind)}
        self.input_embedders = nn.ModuleDict(fronts)
        self.target_embedders = nn.ModuleDict({kind: Vector(s["dim"]) for kind in s["vocab"]})
        self.encoder = Stack([EncoderLayer(s) for _ in range(s["depth"])], "encoder_norm", s["dim"])
        self.decoder = Stack([DecoderLayer(s) for _ in range(s["depth"])], "decoder_norm", s["dim"])
        self.s = s
        self.where, self.at, self.mask = self.places()

    def places(self) -> tuple[Angles, Angles, Tensor]:
        """Rotary angles of the encoder's and of the decoder's places, and what a target may see."""
        s, d = self.s, self.s["head_dim"]
        image, audio = s["grids"]["image"], s["grids"]["audio"]
        scale = (s["codes"]["image"][0] * s["codes"]["image"][1] / (image[0] * image[1])) ** 0.5
        text = line(torch.arange(s["text"]), d)
        inputs, targets = [text], [text]
        for kind, grid in (("image", image), ("audio", audio)):
            n = torch.arange(grid[0] * grid[1])
            inputs.append(plane(scale * (n // grid[1]), scale * (n % grid[1]), d))
            latents = s["latents"][kind]
            n = torch.arange(s["items"] * latents)
            inputs.append(plane(n // latents, n % latents, d))
            height, width = s["codes"][kind]
            n, columns = torch.arange(height * width), width if kind == "image" else height
            targets.append(plane(n // columns, n % columns, d))
        kinds = torch.cat([torch.full((len(cos),), i) for i, (cos, _) in enumerate(targets)])
        mask = (kinds[:, None] == kinds[None]) & torch.ones(len(kinds), len(kinds), dtype=torch.bool).tril()
        both = [tuple(torch.cat(part) for part in zip(*side, strict=True)) for side in (inputs, targets)]
        return both[0], both[1], mask  # type: ignore[return-value]

    def forward(self, b: dict[str, Tensor]) -> Tensor:
        s, fronts = self.s, self.input_embedders
        inputs = [self.text_token_embedder.weight[b["inputs/text/tokens"]] + fronts["text"].modality_embedding]
        for kind in ("image", "audio"):
            x, at = b[f"inputs/{kind}/input"], b[f"inputs/{kind}/pos_ids"]
            inputs.append(fronts[kind](x, at))
            name = f"{kind}_history"
            vit = fronts[kind].image_encoder["vision_transformer"]
            inputs.append(fronts[name](b[f"inputs/{name}/input"], b[f"inputs/{name}/pos_ids"], vit))
        encoded = self.encoder(torch.cat(inputs, dim=1), self.where)
        said = {"text": b["targets/text/targets"]}
        said |= {kind: b[f"targets/{kind}/codes"] + RESERVED for kind in ("image", "audio")}
        tables = {kind: getattr(self, f"{kind}_token_embedder").weight for kind in said}
        read = [
            tables[kind][F.pad(ids[:, :-1], (1, 0))] + self.target_embedders[kind].modality_embedding
            for kind, ids in said.items()
        ]
        states = self.decoder(torch.cat(read, dim=1), self.at, self.mask, encoded, self.where) * s["dim"] ** -0.5
        total = torch.zeros(())
        for (kind, ids), part in zip(said.items(), states.split([x.shape[1] for x in said.values()], 1), strict=True):
            logits = F.linear(part, tables[kind]).flatten(0, 1)
            total = total + F.cross_entropy(logits, ids.flatten()) + s["z_loss"] * logits.logsumexp(-1).square().mean()
        return total


class Side(Trainer):
    def __init__(self, setting: dict[str, Any], folder: Any) -> None:
        super().__init__(setting)
        self.setting, self.folder, self.steps = setting, folder, 0
        torch.set_num_threads(len(os.sched_getaffinity(0)))

    def load(self) -> dict[str, Any]:
        s = self.setting
        self.model = UnifiedIO2(s)
        found: dict[str, Tensor] = {}
        for file in sorted(self.folder.glob("*.safetensors")):
            found |= load_file(file)
        self.model.load_state_dict(found)
        for name, value in self.model.named_parameters():
            value.requires_grad_(".image_encoder." not in name)
        trained = [p for p in self.model.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": s["weight_decay"]},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=s["learning_rate"], betas=(0.9, 0.95), eps=1e-8, fused=True)
        self.trained = trained
        return {}

    def one_step(self) -> float:
        made = {name: torch.from_numpy(value) for name, value in batch(self.setting, self.steps).items()}
        made = {name: x.long() if x.dtype == torch.int32 else x for name, x in made.items()}
        loss = self.model(made)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, self.setting["clip_norm"])
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.steps += 1
        return loss.item()

    def about(self) -> dict[str, Any]:
        return {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "attention": "scaled_dot_product_attention",
            "optimizer": "AdamW, fused",
        }


if __name__ == "__main__":
    serve(Side(*arguments()))

"""What the general machinery may know of a recipe, a model and an example; nothing in here names a recipe.

A recipe is a package `mio_jax.recipes.<name>` whose public names satisfy `Recipe`. The config says which one, and
`load_recipe` imports it; a new recipe adds a folder and touches no shared code.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import numpy as np

from mio_jax.errors import MioError

if TYPE_CHECKING:
    import jax

    from mio_jax.config import AddedSet, ModelConfig, RunConfig, StageConfig
    from mio_jax.data.token_space import TokenSpace
    from mio_jax.nn.cache import KVCache


class Segment(NamedTuple):
    """A piece of an example before it becomes ids.

    kind "text": `value` is a string, in which the token space's special strings stand for their ids;
    kind "image": int32 codes [tokens]; kind "audio": int32 codes [layers, frames] (the layers given are written).
    Recipes whose models look at media themselves have more kinds; see their `encode`.
    `supervised`: whether its tokens, media tags included, carry loss where only responses do.
    """

    kind: str
    value: Any
    supervised: bool = False


class Whole(NamedTuple):
    """A medium that a model may see as well as say: the picture or sound itself, and its codes (None: never said)."""

    seen: Any
    codes: np.ndarray | None


class Example(NamedTuple):
    """One unpacked sequence, all [length]: int32 tokens and modality indices, float32 weights of tokens as targets."""

    tokens: np.ndarray
    modality_ids: np.ndarray
    loss_weights: np.ndarray


class DenoisingIds(NamedTuple):
    """Ids that the mixture of denoisers puts into sequences.

    sentinels: one stands for each hidden span; mask: stands for every hidden code of an image or a sound.
    prefixes: (modality, paradigm) -> int32 ids that an example of that kind begins with.
    """

    sentinels: tuple[int, ...]
    mask: int
    prefixes: Mapping[tuple[str, str], np.ndarray]


class RowFormat(Protocol):
    """How examples, whatever a recipe's `encode` makes of them, become one row of a batch.

    `budgets` are the tokens that a row has room for: one number for a decoder, inputs and targets for an
    encoder-decoder. Rows have static shapes, and arrays of one name in all rows are stacked: [rows, ...]. Arrays
    [rows, data.length] may be split over devices along both axes, others along the first.
    """

    @property
    def budgets(self) -> tuple[int, ...]: ...

    def sizes(self, example: Any) -> tuple[int, ...]:
        """Tokens of one example, for each budget."""
        ...

    def row(self, examples: Sequence[Any]) -> dict[str, np.ndarray]:
        """Arrays of one row; `segment_ids` among them, 0 where there is padding, is what the packing fill is read from.

        Raises MioError if the examples do not fit.
        """
        ...


class Generated(NamedTuple):
    """What a generated sequence holds, in order: `Segment`s of text, image codes and audio codes."""

    segments: tuple[Segment, ...]
    error: str = ""  # why a media span could not be read; empty when all is well


class ChatFormat(NamedTuple):
    """How a recipe writes a conversation down; `Recipe.prompt(content, "chat")` is a user's turn with the reply opened.

    opening: what stands before the first turn. between: text between a closed reply and the next turn. close: the
    special string that closes a reply. reserved: strings that a turn may not hold. begins: modality that every answer
    begins with, or "".
    """

    opening: tuple[Segment, ...]
    between: str
    close: str
    reserved: tuple[str, ...]
    begins: str = ""


@dataclass(frozen=True)
class Direction:
    """One any-to-any direction to evaluate: how a held-out record becomes a prompt, and what is measured.

    `prompt` and `target` take a token record and return segments; `prompt` ends where the answer begins.
    `shuffle` returns the record with its conditioning taken from `other` (the control), its target untouched.
    `metric` is a key of `mio_jax.evaluate.METRICS`; `options` are its settings.
    """

    name: str  # "image->text"
    task: str  # the registered task whose held-out split is used
    prompt: Any  # Callable[[record], list[Segment]]
    target: Any  # Callable[[record], list[Segment]]
    shuffle: Any  # Callable[[record, other], record]
    metric: str
    options: dict[str, Any] = field(default_factory=dict)
    max_new_tokens: int = 128


class StackSizes(NamedTuple):
    """A stack of transformer layers, as far as its matrix products go."""

    depth: int
    dim: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp_dim: int
    mlp_matrices: int = 3  # 3 with a gate
    causal: bool = True
    share: float = 1.0  # of a row's tokens that pass through it
    context: float = 0.0  # of a row's tokens that its cross-attention reads; 0: it has none
    length: int = 0  # tokens that see each other; 0: all of the row's that pass through it
    trained: bool = True  # it gets a gradient


class ModelSizes(NamedTuple):
    """What the FLOPs of a model are counted from; the logits of one token are `output_dim` x `vocab_size`."""

    stacks: tuple[StackSizes, ...]
    output_dim: int
    vocab_size: int


class Model(Protocol):
    """A decoder as the training step and the decoding engine see it: a plain pytree with these methods.

    `spec` is the frozen dataclass that it was built from (depth, kv_heads, head_dim, dtype, vocab_size, ...).
    """

    spec: Any

    def hidden(self, tokens: jax.Array, positions: jax.Array, segment_ids: jax.Array | None) -> jax.Array:
        """int32 [batch, length] each -> final-norm states [batch, length, dim]; segment 0 is padding."""
        ...

    def output_table(self) -> jax.Array:
        """Rows of the output projection [vocab, dim]."""
        ...

    def logits(self, hidden: jax.Array) -> jax.Array:
        """[..., dim] -> float32 [..., vocab]."""
        ...

    def init_cache(self, batch: int, length: int) -> KVCache: ...

    def extend(
        self, tokens: jax.Array, positions: jax.Array, valid: jax.Array, cache: KVCache
    ) -> tuple[jax.Array, KVCache]:
        """Appends [batch, n] tokens to the cache -> states [batch, n, dim] and the cache. `valid` False: padding."""
        ...

    def for_decoding(self) -> Model:
        """The same model arranged for many calls of `extend`."""
        ...


class DecodingEngine(Protocol):
    """Answers prompts as `Recipe.encode_prompt` makes them; decoder-only models have `mio_jax.generate.Engine`."""

    def generate(
        self,
        prompts: Sequence[Any],
        sampling: Any = None,
        *,
        max_new_tokens: int,
        stop_ids: Sequence[int] = (),
        seeds: Sequence[int] | None = None,
        grammar: Any = None,
    ) -> list[np.ndarray]:
        """The new ids of each prompt; a row depends on its prompt and seed alone."""
        ...

    def score_batch(self, prompts: Sequence[Any], candidates: Sequence[Sequence[np.ndarray]]) -> list[np.ndarray]:
        """Summed log-likelihoods of each prompt's candidates."""
        ...

    def judge_batch(
        self, prompts: Sequence[Any], candidates: Sequence[Sequence[np.ndarray]]
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """The same, and beside each whether greedy decoding would say the candidate: float32 and bool [candidates]."""
        ...


class EncodedDecoding(Protocol):
    """What decoding needs to know of a recipe whose model encodes its inputs first.

    Such a recipe has `encoded_decoding(config, space)` beside the names of `Recipe`.
    """

    def batch(self, prompts: Sequence[Any]) -> dict[str, np.ndarray]:
        """Prompts of `Recipe.encode_prompt` -> what the encoder reads, [prompts, ...] each."""
        ...

    def bind(self, model: Any, modality: str, batch: dict[str, jax.Array]) -> Model:
        """The decoder of one modality over the encoded batch; its sequences begin with the start token, id 0."""
        ...

    def length(self, modality: str) -> int:
        """Tokens of an answer of this modality; 0: it ends with the end mark."""
        ...

    def ids(self, modality: str, tokens: np.ndarray) -> np.ndarray:
        """What the decoder says -> ids of the token space."""
        ...

    def tokens(self, ids: np.ndarray) -> tuple[str, np.ndarray]:
        """Ids of the token space, all of one modality -> it, and what its decoder says."""
        ...


class Recipe(Protocol):
    """The public names of a recipe package."""

    def token_space(self, tokenizers: Any) -> TokenSpace: ...

    def resolve_model(self, config: ModelConfig, space: TokenSpace) -> Any:
        """The model's frozen, hashable spec. Raises MioError on an unknown preset or sizes that do not fit."""
        ...

    def build_model(self, spec: Any, key: jax.Array) -> Model: ...

    def model_sizes(self, spec: Any) -> ModelSizes:
        """What FLOPs are counted from."""
        ...

    def published_space(self) -> TokenSpace:
        """The published models' vocabulary, for planning a run whose tokenizers are not at hand."""
        ...

    def loss(
        self, model: Model, batch: dict[str, jax.Array], *, z_loss: float = 0.0
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Summed loss (float32 scalar), and sums to add over micro-batches: `weight`, `loss/NAME`, `weight/NAME`."""
        ...

    def import_weights(
        self, path: str | os.PathLike[str], spec: Any, place: Any = None, *, ignore: Sequence[str] = ()
    ) -> dict[str, Any]:
        """Published weights -> nested dict of what `place(path, array)` made of each parameter.

        `ignore`: globs of names in them that the model lacks. Raises MioError listing tensors that are missing,
        unexpected or misshapen.
        """
        ...

    def check_weights(self, path: str | os.PathLike[str], space: TokenSpace, tokenizers: Any) -> None:
        """Raises MioError if the table beside published weights says that their rows mean other tokens than `space`.

        A recipe whose published weights have one layout alone may lack this name.
        """
        ...

    def write_added_tokens(self, space: TokenSpace, folder: str | os.PathLike[str]) -> None:
        """Writes the table that `check_weights` reads beside exported weights; lacking where that is."""
        ...

    def export_weights(
        self, params: dict[str, Any], spec: Any, folder: str | os.PathLike[str], *, names: str = ""
    ) -> list[Path]:
        """Writes the published form -> its files. `names`: which names, where there are several; empty: the first."""
        ...

    def register_tasks(self, records_dir: str, added: Sequence[AddedSet] = ()) -> None:
        """Puts the recipe's tasks and mixtures over these token records in the SeqIO registry; idempotent.

        `added` are `config.data.added`. Raises MioError where the recipe cannot train them.
        """
        ...

    def encode(
        self,
        segments: list[Segment],
        tokenizers: Any,
        space: TokenSpace,
        *,
        supervise: str = "all",
        bos: bool = True,
        system: str = "",
    ) -> Example:
        """`system` (`config.data.system_prompt`) is the system prompt of a conversation that brings none of its own."""
        ...

    def corruption(self, config: RunConfig, stage: StageConfig, tokenizers: Any, space: TokenSpace) -> Any:
        """What a stage makes of examples: a function of one and of its own `np.random.Generator`, which gives what is
        trained, or None to leave it out. None where examples are trained as they are.

        Stages with objective "denoising" need it; a recipe that has none may lack this name. Raises MioError if the
        vocabulary has no sentinels.
        """
        ...

    def encode_prompt(self, segments: list[Segment], tokenizers: Any, space: TokenSpace, *, system: str = "") -> Any:
        """What the engine is asked with: int32 ids, or whatever else has their `tobytes()` and `tolist()`."""
        ...

    def encode_answer(self, segments: list[Segment], tokenizers: Any, space: TokenSpace) -> np.ndarray:
        """int32 ids of what follows a prompt."""
        ...

    def rows(self, config: RunConfig) -> RowFormat:
        """What a row of a batch is made of."""
        ...

    def segment(self, kind: str, media: Any, tokenizers: Any) -> Segment:
        """A user's text ("text"), picture ("image") or sound ("audio") as part of a prompt."""
        ...

    def parse(self, tokens: np.ndarray, tokenizers: Any, space: TokenSpace) -> Generated: ...

    def prompt(self, content: list[Segment], style: str) -> list[Segment]:
        """A user's content as the model was trained to be asked: "base" as it stands, "chat" as a user turn."""
        ...

    def chat_format(self, mode: str = "", system: str = "") -> ChatFormat:
        """The template of a conversation in one of the recipe's modes ("": `system`, or its own system prompt).

        Recipes without conversations lack this name. Raises MioError naming the modes.
        """
        ...

    def ask(self, name: str, content: list[Segment]) -> tuple[list[Segment], str]:
        """Content put into the words that a task trains -> (content of a user turn, modality the answer begins with).

        Raises MioError naming the wordings that there are, or what kinds of content this one takes.
        """
        ...

    def published_sampling(self, output: str, source: str = "paper") -> Any:
        """The publication's `mio_jax.generate.SamplingConfig` for an output. Raises MioError if it has none."""
        ...

    def published_prompt_tokens(self, style: str) -> int:
        """How many tokens of a prompt the publication keeps, from its beginning on. Recipes may lack this name."""
        ...

    def stop_strings(self, style: str) -> tuple[str, ...]:
        """Special strings that end a response, besides the end of the sequence."""
        ...

    def grammar(self, space: TokenSpace) -> Any:
        """The modality grammar of this token space (`mio_jax.generate.Grammar`)."""
        ...

    def directions(self, config: RunConfig) -> tuple[Direction, ...]: ...


def load_recipe(name: str) -> Recipe:
    """Imports `mio_jax.recipes.<name>`. Raises MioError naming the recipes that there are."""
    import mio_jax.recipes

    known = sorted(m.name for m in pkgutil.iter_modules(mio_jax.recipes.__path__) if m.ispkg)
    if name not in known:
        raise MioError(f"unknown recipe {name!r}; there are: {', '.join(known)}")
    return cast(Recipe, importlib.import_module(f"mio_jax.recipes.{name}"))

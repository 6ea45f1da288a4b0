"""Edits of a serialised SentencePiece model: other ids for the special pieces, and new pieces at the end."""

from __future__ import annotations

from collections.abc import Sequence

from mio_jax.errors import MioError

SPACE = "\u2581"  # how SentencePiece writes a space


def special_first(model: bytes, append: Sequence[str] = ()) -> bytes:
    """The model with BOS, EOS and UNK at ids 0, 1, 2 and the strings of `append` as pieces at the end.

    Every other piece keeps its place behind the three; where they were the first three already (LLaMA's models), it
    keeps its id. An appended piece begins with a space, and spaces within it are part of it: it is one token at the
    start of a text or after a space, and ordinary characters elsewhere. For that the model must put a space before a
    text; one that does not is changed to do so.

    Raises:
      MioError: no SentencePiece model, one without BOS, EOS or UNK, or one that has an appended piece already.
    """
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    try:
        proto.ParseFromString(model)
    except DecodeError as error:
        raise MioError(f"this is no SentencePiece model ({error}); fetch it again") from error
    spec = proto.trainer_spec
    if not proto.pieces:
        raise MioError("this is no SentencePiece model (it holds no pieces); fetch it again")
    first = {"BOS": spec.bos_id, "EOS": spec.eos_id, "UNK": spec.unk_id}
    for name, index in first.items():
        if not 0 <= index < len(proto.pieces):
            raise MioError(f"the SentencePiece model has no {name} piece; train it with bos_id, eos_id and unk_id")
    known = {piece.piece for piece in proto.pieces}
    added = [SPACE + text.replace(" ", SPACE) for text in append]
    again = sorted(set(added) & known) or sorted({a for a in added if added.count(a) > 1})
    if again:
        raise MioError(
            f"the SentencePiece model has the piece {again[0]!r} already; give the model as it was published"
        )
    order = [*first.values(), *(i for i in range(len(proto.pieces)) if i not in first.values())]
    pieces = [sentencepiece_model_pb2.ModelProto.SentencePiece.FromString(proto.pieces[i].SerializeToString())
              for i in order]  # fmt: skip
    del proto.pieces[:]
    proto.pieces.extend(pieces)
    for text in added:
        proto.pieces.add(piece=text, score=0.0, type=sentencepiece_model_pb2.ModelProto.SentencePiece.USER_DEFINED)
    spec.bos_id, spec.eos_id, spec.unk_id = 0, 1, 2
    spec.vocab_size = len(proto.pieces)
    proto.normalizer_spec.add_dummy_prefix = True
    return bytes(proto.SerializeToString())

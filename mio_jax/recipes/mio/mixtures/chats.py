"""Kinds of instruction tuning: chats whose replies alone are learned (sections 4.2 and 5.3).

User turns are the wordings of the published examples and of the evaluation; those of editing, stories and reasons are
not published, and ours.
"""

from __future__ import annotations

import re

from mio_jax.recipes.mio.mixtures.parts import (
    ROOM,
    Kind,
    Rng,
    can_be_spoken,
    caption_of,
    codes,
    drawn,
    field,
    frames_for,
    has,
    plain,
    spread,
    tokens_of,
    voiced,
)
from mio_jax.recipes.mio.prompts import system_turn
from mio_jax.recipes.mio.tasks import Content, Record, audio, chat, image, text

MARK = re.compile(r"\s*<image>\s*")
QUESTIONS = 6  # about one picture
FRAMES_ASKED = 8  # of a video that is asked about


def caption(record: Record, rng: Rng, style: str) -> Content:
    """A set's captions are single sentences, so one is asked for."""
    shown = image(codes(record, "image"))
    return chat(
        [text("Provide a one-sentence caption for the provided image. "), shown], [text(caption_of(record, rng))]
    )


def long_caption(record: Record, rng: Rng, style: str) -> Content:
    shown = image(codes(record, "image"))
    asked = text("Please provide an accurate and detailed description of this image.\n")
    return chat([asked, shown], [text(caption_of(record, rng))])


ASKED_IMAGES = (
    "Please generate an image according to the caption.\n{}",
    "Please generate an image according to the given description. {}",
)


def text_to_image(record: Record, rng: Rng, style: str) -> Content:
    said = caption_of(record, rng)
    return chat([text(drawn(ASKED_IMAGES, rng).format(said))], [image(codes(record, "image"))])


def edit(record: Record, rng: Rng, style: str) -> Content:
    asked = text(f"{plain(record['instruction'])}\n")
    return chat([asked, image(codes(record, "image"))], [image(codes(record, "target"))])


def transcription(record: Record, rng: Rng, style: str) -> Content:
    heard = audio(codes(record, "audio")[:1])
    between = drawn(("\n", ""), rng)  # the published examples have one, the evaluation has none
    return chat([text(f"Please transcribe this speech.{between}"), heard], [text(plain(record["transcript"]))])


ASKED_SPEECH = (
    "The transcription is ``{}''. Please generate a speech according to the given transcription. Start with <spch>.",
    "Please generate a speech according to the given transcription. Start with <spch>. {}",
)


def speech(record: Record, rng: Rng, style: str) -> Content:
    said = plain(record["transcript"])
    asked = drawn(ASKED_SPEECH, rng).replace("{}", said)
    return voiced([text(asked)], [audio(codes(record, "audio"))])


def questions(record: Record, rng: Rng, style: str) -> Content:
    """Some questions about one picture, which is read once."""
    known = field(record, "questions")
    return _turns([known[i] for i in rng.permutation(len(known))[:QUESTIONS]], [image(codes(record, "image"))])


def video_questions(record: Record, rng: Rng, style: str) -> Content:
    known = field(record, "questions")
    return _turns([known[i] for i in rng.permutation(len(known))[:QUESTIONS]], _frames(record))


def video_chat(record: Record, rng: Rng, style: str) -> Content:
    return _turns(field(record, "turns"), _frames(record))


def conversation(record: Record, rng: Rng, style: str) -> Content:
    """Turns, with the pictures where "<image>" stands; those without a mark lie behind the first question."""
    if "pictures" in record:
        pictures = [image(one) for one in record["pictures"]]
    else:
        pictures = [image(record["image"])] if "image" in record else []
    made = _turns(field(record, "turns"), pictures)
    system = plain(record.get("system", "")).strip()
    return [text(system_turn(system)), *made] if system else made


def reasons(record: Record, rng: Rng, style: str) -> Content:
    """A chain of thought: the reasons, then the answer."""
    choices = ", ".join(plain(one) for one in field(record, "choices"))
    asked = f"{plain(record['question'])}\nChoices: {choices}\nPlease reason step by step before you answer.\n"
    said = f"{plain(record['reason'])} The answer is {plain(record['answer'])}."
    return chat([text(asked), image(codes(record, "image"))], [text(said)])


def video_caption(record: Record, rng: Rng, style: str) -> Content:
    said = caption_of(record, rng)
    return chat([text("Please describe the following video.\n"), *_frames(record)], [text(said)])


def text_to_video(record: Record, rng: Rng, style: str) -> Content:
    said = caption_of(record, rng)
    return chat([text(f"Please generate a video for ``{said}''.")], frames_for(record, said))


def story(record: Record, rng: Rng, style: str) -> Content:
    """Pictures and sentences in turns; the album's title says what about, or the first sentence where it has none."""
    sentences = [plain(one) for one in field(record, "story")]
    about = plain(record.get("title", "")).strip() or sentences[0]
    told = zip(codes(record, "pictures"), sentences, strict=True)
    reply = [part for shown, said in told for part in (image(shown), text(f" {said} "))]
    return chat([text(f"Generate a visual story about {about}.")], reply)


def _frames(record: Record) -> Content:
    return [image(one) for one in spread(codes(record, "frames"), FRAMES_ASKED)]


def _turns(said: list[list[str]], pictures: Content) -> Content:
    """Turns of [asked, answered] around the pictures, as many as fit in a row."""
    left = list(pictures)
    made: Content = []
    for number, (asked, answered) in enumerate(said):
        # The first words of a set may hold marks: each stands for the next picture, or is nothing.
        pieces = MARK.split(asked)
        user: Content = []
        for place, piece in enumerate(pieces):
            if place and left:
                user += [left.pop(0), text("\n")] if plain(piece).strip() else [left.pop(0)]
            if plain(piece).strip():
                user.append(text(plain(piece).strip()))
        if not number and left:
            user += [text("\n"), *left]
            left = []
        turn = [*([text("\n")] if made else []), *chat(user, [text(plain(answered).strip())])]
        if made and sum(map(tokens_of, [*made, *turn])) > ROOM:
            break
        made += turn
    return made


def _answered(record: Record) -> bool:
    return has("turns")(record) and all(asked.strip() and said.strip() for asked, said in field(record, "turns"))


KINDS: dict[str, Kind] = {
    "chat_caption": Kind(caption, "picture -> a sentence", "image", "text", has("captions")),
    "chat_long_caption": Kind(long_caption, "picture -> description", "image", "text", has("captions")),
    "chat_text_to_image": Kind(text_to_image, "description -> picture", "text", "image", has("captions")),
    "chat_edit": Kind(edit, "picture and instruction -> picture", "image text", "image", has("instruction")),
    "chat_transcription": Kind(transcription, "speech -> words", "audio", "text", has("transcript")),
    "chat_speech": Kind(speech, "words -> speech, in voice mode", "text", "audio", can_be_spoken),
    "chat_questions": Kind(questions, "picture and questions -> answers", "image text", "text", has("questions")),
    "chat_conversation": Kind(conversation, "turns about pictures, or none", "image text", "text", _answered),
    "chat_reasons": Kind(reasons, "question -> reasons and answer", "image text", "text", has("reason", "answer")),
    "chat_video_caption": Kind(video_caption, "frames -> description", "image", "text", has("captions")),
    "chat_text_to_video": Kind(text_to_video, "description -> 4 to 8 frames", "text", "image", has("captions")),
    "chat_video_questions": Kind(
        video_questions, "frames, questions -> answers", "image text", "text", has("questions")
    ),
    "chat_video": Kind(video_chat, "turns about frames", "image text", "text", _answered),
    "chat_story": Kind(story, "title -> pictures and sentences in turns", "text", "image text", has("story")),
}

"""More wordings of `prompt_tables`, in the same form: conditions, pasted pieces, space, stories and dialogues."""

from __future__ import annotations

SEEN: dict[str, tuple[str, tuple[str, ...]]] = {
    "condition_to_image": (
        "image",
        (
            "<image_input> is the {condition} of a picture. Make that picture; it shows this: {caption}",
            "Paint an image that has the {condition} in <image_input> and fits these words: {caption}",
            "Follow the {condition} given as <image_input> and draw: {caption}",
            "From {condition} ( <image_input> ) to a photo. Its description: {caption}",
            "What could the picture be whose {condition} is <image_input>? A hint: {caption}",
            "Here is the {condition} of an image: <image_input> Now create the image itself. {caption}",
        ),
    ),
    "narrative": (
        "text",
        (
            "Describe <image_input> at length, part by part.",
            "Tell somebody on the phone all that <image_input> shows.",
            "Go through <image_input> and say what is where. Take several sentences.",
            "Give a detailed spoken description of <image_input>",
            "Point at one thing after the other in <image_input> and say what you see.",
        ),
    ),
    "story": (
        "text",
        (
            "Tell the story of the photos that end with <image_input>, a sentence for each.",
            "Write a short story that goes with these pictures.",
            "The pictures up to <image_input> are an album. Invent what happened, sentence by sentence.",
            "Make up a story in which each of the pictures, in their order, is a scene.",
            "What is the story behind this series of photos? One sentence a photo.",
        ),
    ),
    "visual_dialog": (
        "text",
        (
            "Two people talk about <image_input>. {dialogue} Answer the next question briefly: {question}",
            "{dialogue} {question} Reply in a few words.",
            "What is known of <image_input>: {dialogue} Now somebody asks: {question} Short answer:",
            "Go on with this dialogue about <image_input>. {dialogue} {question}",
            "A chat about a picture. {dialogue} The question now is: {question} Keep the answer short.",
        ),
    ),
    "grounded_choices": (
        "text",
        (
            "In <image_input> there are: {things} Question: {question} Choose one of these answers: {choices}",
            "{question} The names stand for these boxes: {things} Possible answers: {choices}",
            "Boxes and names: {things} {question} Which of these is right? {choices}",
            "Look at <image_input> with {things} and answer by one of the options. {question} Options: {choices}",
            "Pick what fits <image_input> best: {choices} The question: {question} The things in it: {things}",
        ),
    ),
    "grounded_reasons": (
        "text",
        (
            "In <image_input> there are: {things} {question} Why is that so? Choose one of these: {choices}",
            "{question} Boxes of what is named: {things} Which of these is the reason? {choices}",
            "Boxes and names: {things} Question and answer: {question} Give the reason out of these: {choices}",
            "How does one know? {question} The reason is one of {choices} Named are {things}",
            "Pick the best explanation: {choices} What it explains: {question} The things in <image_input>: {things}",
        ),
    ),
    "patch_detection": (
        "text",
        (
            "Pieces of other pictures are pasted into <image_input>. Give the box of each.",
            "Find all that does not belong in <image_input>, with boxes, and call each of them a patch.",
            "Where in <image_input> are patches of foreign pictures?",
            "List the boxes of the pasted patches.",
            "Detect every patch that was put onto <image_input>",
        ),
    ),
    "patch_counting": (
        "text",
        (
            "How many pieces of other pictures are pasted into <image_input>? Answer with a number.",
            "Count the foreign patches in <image_input>",
            "Some parts of <image_input> come from other pictures. How many?",
            "Give the number of patches that do not belong to <image_input>",
            "How often was something pasted onto <image_input>? A number is enough.",
        ),
    ),
    "box_3d": (
        "text",
        (
            "Give the box in space of what {box} encloses in <image_input>",
            "There is something at {box} ; tell its place, depth, size and rotation.",
            "Lift the box {box} to three dimensions.",
            "3-D box of the thing that {box} encloses in <image_input>:",
        ),
    ),
    "view_synthesis": (
        "image",
        (
            "Move the camera by {} and show the object of <image_input> again.",
            "What does the thing in <image_input> look like after the camera has moved by {} ?",
            "Draw the object of <image_input> from another side. The way there: {}",
            "The camera of <image_input> goes along {} . Make the new view.",
            "Render <image_input> from a place that lies {} from here.",
        ),
    ),
    "camera_transform": (
        "text",
        (
            "How did the camera move from <image_history_1> to <image_input>?",
            "Both pictures show one object. Give the way of the camera between them.",
            "Find the change of the camera that leads from <image_history_1> to <image_input>",
            "<image_history_1> is the first view and <image_input> the second. Where did the camera go?",
            "Write the turn and the distance between these two views of an object.",
        ),
    ),
    "view_completion": (
        "image",
        (
            "<image_history_1> shows the same place. Fill in what is missing of <image_input>",
            "Most of <image_input> is hidden. Restore it after the other view, <image_history_1>",
            "Complete <image_input> with the help of a view from nearby: <image_history_1>",
            "Two views of one scene. Of the second, <image_input>, only parts are left; make it whole.",
            "Use <image_history_1> to paint the blank parts of <image_input>",
        ),
    ),
}

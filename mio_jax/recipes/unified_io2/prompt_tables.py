"""The wordings of `prompt_library`: kind -> (medium of the answer, wordings).

Within a kind all wordings have the same placeholders, each once. Hints of the wanted form ("in a word or two") are part
of a wording. Location tokens that are put in stand between spaces, because they count only there.
"""

from __future__ import annotations

from mio_jax.recipes.unified_io2.prompt_tables_moving import MOVING
from mio_jax.recipes.unified_io2.prompt_tables_seen import SEEN

TABLES: dict[str, tuple[str, tuple[str, ...]]] = {
    **SEEN,
    # ------------------------------------------------------------------------------------------------ whole pictures
    "text_to_image": (
        "image",
        (
            "Paint a picture that shows {}",
            "An image is wanted. Its description: {}",
            'Turn the words "{}" into an image.',
            "Please show me {}",
        ),
    ),
    "image_captioning": (
        "text",
        (
            "Sum up <image_input> in one short sentence.",
            "In the manner of COCO, what is going on in <image_input>?",
            "Give <image_input> a brief caption.",
            "Say in a sentence what can be seen here: <image_input>",
        ),
    ),
    "noisy_captioning": (
        "text",
        (
            "What might the text next to <image_input> on the internet be?",
            "Make up web-style text for <image_input>",
            "Produce a caption of <image_input> as it could have been scraped from the web.",
        ),
    ),
    "constrained_captioning": (
        "text",
        (
            "Write a caption {} for <image_input>",
            "Describe <image_input> in a sentence {}",
            "A short description {} is wanted for <image_input>",
            "Caption this picture {} : <image_input>",
            "Find a caption {} that fits <image_input>",
        ),
    ),
    "vqa": (
        "text",
        (
            "Here is a question about <image_input>. {} Keep the answer short.",
            "{} Reply with one or two words after looking at <image_input>",
            "In brief: {}",
        ),
    ),
    "vqa_choices": (
        "text",
        (
            "{question} Choose one of these: {choices}",
            "Look at <image_input>. {question} The options are {choices}",
            "Pick the right answer. Question: {question} Options: {choices}",
            "Which of these is right? {choices} The question is: {question}",
            "Answer with one of the options. {question} ( {choices} )",
        ),
    ),
    "true_or_false": (
        "text",
        (
            "True or false of <image_input>? {}",
            "Does <image_input> bear this out? Say true or false. {}",
            'Judge the statement "{}" by <image_input>: true or false?',
            "Is this so in <image_input>, true or false? {}",
            "Statement: {} Answer true if <image_input> agrees with it and false otherwise.",
        ),
    ),
    "pair_true_or_false": (
        "text",
        (
            "The left picture is <image_history_1> and the right one <image_input>. True or false? {}",
            "True or false of the two pictures <image_history_1> and <image_input> ? {}",
            "Compare <image_history_1> (left) with <image_input> (right), then say true or false: {}",
            'With <image_history_1> on the left and <image_input> on the right, is "{}" true or false?',
            "Two pictures and a statement: {} Is it true or false?",
        ),
    ),
    "classification": (
        "text",
        (
            "Classify <image_input>",
            "Say in a word or two what <image_input> is a picture of.",
            "Give the label of <image_input>",
        ),
    ),
    "image_instruction": (
        "text",
        (
            "{}",
            "Look at <image_input> and do what is asked. {}",
            "About <image_input>: {} Answer at length where that helps.",
            "Somebody says this about <image_input>. {} Reply in full sentences.",
            "Help with this, using <image_input>: {}",
        ),
    ),
    "image_editing": (
        "image",
        (
            "Take <image_input> and make this change: {}",
            "How does <image_input> look after this edit? {}",
            "Alter <image_input> so that the following is done. {}",
        ),
    ),
    "inpainting": (
        "image",
        (
            "A part of <image_input> is missing. Paint a {} there.",
            "Restore <image_input> where it is blank, with a {} in that place.",
            "Fill the gap in <image_input> with this: {}",
        ),
    ),
    # ------------------------------------------------------------------------------------------------------- regions
    "detection": (
        "text",
        (
            "Name and locate all things of COCO's categories in <image_input>",
            "Give a box and a category of COCO for every object in <image_input>",
            "Find everything in <image_input> that COCO has a category for.",
        ),
    ),
    "detection_of_classes": (
        "text",
        (
            "Find all of these in <image_input>, with boxes and names: {}",
            "Where are the following things? {} Give boxes and names.",
            "Detect only these categories in <image_input>: {}",
            "List every instance of {} with its box.",
            "Of these categories, what is in <image_input> and where? {}",
        ),
    ),
    "localization": (
        "text",
        (
            "Give the box of each {} that you see in <image_input>",
            "Mark all instances of {} with boxes.",
            "Show where in <image_input> there is a {} and do not leave one out.",
        ),
    ),
    "text_detection": (
        "text",
        (
            "Find the writing in <image_input>: a box for every word, and the word.",
            "Which words stand in <image_input>, and where?",
            "Read <image_input>. Give each word with its box.",
            "Locate and spell out all text in <image_input>",
            "List the boxes of words in <image_input> with what they say.",
        ),
    ),
    "box_classification": (
        "text",
        (
            "Say in a word or two what {box} holds.",
            "Classify the object at {box} in <image_input>",
            "What kind of thing lies in {box} ?",
        ),
    ),
    "region_captioning": (
        "text",
        (
            "Caption the part {box} of <image_input>",
            "In a few words, what is at {box} ?",
            "Look only at {box} and say what is there.",
        ),
    ),
    "refexp": (
        "text",
        (
            "Where in <image_input> is the following? {}",
            "Give one box for: {}",
            'Someone points at "{}". Which box do they mean?',
        ),
    ),
    "box_to_expression": (
        "text",
        (
            "How would you tell somebody to look at {box} in <image_input>?",
            "Refer to the thing in {box} so that it is not mistaken for another.",
            "Write an expression that means {box} and nothing else in <image_input>",
            "What could one call the object at {box} to single it out?",
            "Describe {box} so that a reader finds it.",
        ),
    ),
    "relationship": (
        "text",
        (
            "What joins the thing at {subject} to the one at {object} ?",
            "In a word or two, what does {subject} have to do with {object} ?",
            "Give the relation between the subject {subject} and the object {object}",
        ),
    ),
    "box_relation": (
        "text",
        (
            "Where does {first} lie, seen from {second} ?",
            "Say how the box {first} lies to the box {second} in <image_input>",
            "Is {first} above, below, beside, inside, around or over {second} ?",
            "Describe the place of {first} with regard to {second}",
            "Compare the places of two boxes. First: {first} Second: {second}",
        ),
    ),
    "box_property": (
        "text",
        (
            "Give {property} of the box of the {label} in <image_input>",
            "Find the {label} and write {property} of its box.",
            "Of the box around the {label} , what is {property} ?",
            "For the {label} in <image_input>, write {property} of its box as location tokens.",
            "Measure the {label} : {property} of its box is wanted.",
        ),
    ),
    "keypoints": (
        "text",
        (
            "Mark the joints and the face of the person in {box} ; write MISSING for what is not seen.",
            "Pose of the person at {box} in <image_input>?",
            "List where each body part of the person in {box} is.",
        ),
    ),
    # --------------------------------------------------------------------------------------------------------- dense
    "segmentation_class": (
        "image",
        (
            "Show in white all of {} in <image_input>, the rest in black.",
            "Mask every pixel of {}",
            "Where is {} ? Answer with a mask.",
        ),
    ),
    "segmentation_complement": (
        "image",
        (
            "Paint white everything in <image_input> but {}",
            "Mask all that is not {}",
            "Leave {} black and make the rest of <image_input> white.",
            "Segment <image_input> without {}",
            "Which pixels show something other than {} ? Answer with a mask.",
        ),
    ),
    "segmentation_box": (
        "image",
        (
            "Mask the {label} within {box} of <image_input>",
            "One {label} lies in {box} . Paint its pixels white.",
            "Give a mask for the {label} at {box}",
        ),
    ),
    "box_to_mask": (
        "image",
        (
            "Mask what lies in {box}",
            "Segment the thing in {box} of <image_input>",
            "Paint the outline of the object at {box} and fill it with white.",
            "Which pixels belong to the object in {box} ? Show them in white.",
            "There is something at {box} ; give its mask.",
        ),
    ),
    "refexp_segmentation": (
        "image",
        (
            "Mask the following in <image_input>: {}",
            "Show in white only this: {}",
            'Which pixels are meant by "{}"? Answer with a black and white picture.',
        ),
    ),
    "mask_to_image": (
        "image",
        (
            "Draw a photo whose {} has the outline of <image_input>",
            "<image_input> shows where the {} is. Make the picture.",
            "Turn the mask <image_input> into a picture with a {} there.",
            "Paint a scene in which the white part of <image_input> is a {}",
            "Make an image that the mask <image_input> of a {} fits.",
        ),
    ),
    "depth": (
        "image",
        (
            "Show the distance of everything in <image_input>: the darker, the nearer.",
            "Paint the depth of <image_input> in grey, white for the farthest.",
        ),
    ),
    "surface_normals": (
        "image",
        (
            "Colour <image_input> by where its surfaces face.",
            "Paint the normal map of <image_input>",
        ),
    ),
    "optical_flow": (
        "image",
        (
            "Paint the motion between <image_history_1> and <image_input>",
            "Where does each pixel of <image_history_1> go in <image_input>? Answer in colours.",
            "Make the flow map of these two frames.",
        ),
    ),
    # --------------------------------------------------------------------------------------------------------- sound
    "text_to_audio": (
        "audio",
        (
            "Let me hear {}",
            "Produce the sound that these words describe: {}",
        ),
    ),
    "speech": (
        "audio",
        (
            "Say this in a clear voice: {}",
            "Let somebody read the sentence: {}",
        ),
    ),
    "audio_captioning": (
        "text",
        (
            "Sum up <audio_input> in a sentence.",
            "What is going on in <audio_input>? Answer with a caption.",
        ),
    ),
    "audio_tagging": (
        "text",
        (
            "Classify the sound <audio_input>",
            "Which labels fit <audio_input>?",
        ),
    ),
    # -------------------------------------------------------------------------------------------------------- videos
    "video_captioning": (
        "text",
        (
            "Write one sentence about the clip that ends with <image_input>",
            "Give the video a short caption.",
        ),
    ),
    "video_tagging": (
        "text",
        (
            "Name what somebody does in this clip.",
            "Classify the action of the video.",
        ),
    ),
    "video_qa": (
        "text",
        (
            "A question about the clip: {} Answer in a word or two.",
            "Look at all frames. {} Keep it short.",
            "Short answer, please. {}",
        ),
    ),
    "tracking": (
        "text",
        (
            "Here is where it was: {} Give its box in <image_input>",
            "These boxes follow one thing through the video: {} Which one comes next?",
            "Track it. Until now: {} Now, in <image_input>:",
        ),
    ),
    # ---------------------------------------------------------------------------------------------------------- text
    "instruction": (
        "text",
        (
            "Do the following. {}",
            "Answer this: {}",
        ),
    ),
    **MOVING,
}

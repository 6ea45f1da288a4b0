"""Wordings of the kinds that act, or that join what is seen in a video with where it happens and how it sounds."""

from __future__ import annotations

MOVING: dict[str, tuple[str, tuple[str, ...]]] = {
    "action_localization": (
        "text",
        (
            "Box everybody in <image_input> and say what each of them is doing.",
            "Who does what here? Give boxes with actions for <image_input>",
            "List the people of <image_input> with their actions, a box for each.",
            "Find every person in the frame <image_input> and name all that they do.",
            "Where are people, and how do they act at this moment of the video?",
        ),
    ),
    "audio_from_video": (
        "audio",
        (
            "Make the sound that goes with <image_input>",
            "What would be heard at the end of this video?",
            "The video is silent: give its last frame a sound.",
            "Produce audio that fits what happens in <image_input>",
            "Let me hear what these frames show.",
        ),
    ),
    "robot_plan": (
        "text",
        (
            "The table is <image_input> . What the arm is asked to do: {} Write down its steps.",
            "Tell the arm over the table in <image_input> how to do this: {}",
            "Steps, please, that carry this out: {}",
        ),
    ),
    "robot_action": (
        "text",
        (
            "A robot sees <image_input> and is told: {} What is its next action?",
            "Give the robot's action right after <image_input> . Its task: {}",
            "Task of the robot: {} How does it move now?",
            "Continue this episode by one action. The robot was asked: {}",
            "Which action brings the robot closer to this? {}",
        ),
    ),
}

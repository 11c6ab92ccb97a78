"""Exercises for notebook 09: read the control of the sizes, and say what it shows."""

from .kinds import Values, Words, wrong, wrong_options

SIZES = Values(
    heading="09.1 the same first step · warm-up · 5 minutes",
    right={"gain": 12.2, "behind": "CE"},
    options=("CE", "KD", "PLD", "DIST", "DKD"),
    rtol=0.08,
    hint="An arrow leads from a loss as it is to the same loss times a constant; read it upwards.",
    praise="Four losses meet near 28%, and CE does not: the teacher is worth eight points.",
    mistakes=(
        wrong("where-it-ends", gain=27.7)(
            "This is the accuracy at the arrow's tip.", "From where did it start?"
        ),
        wrong("starts-lowest", behind="PLD")(
            "PLD starts lowest, but where does its arrow end?", "Compare the tips, not the starts."
        ),
    ),
)

WHAT_IT_SHOWS = Words(
    heading="09.2 what a control shows · core · 10 minutes",
    right={"belongs": frozenset("ade")},
    options="abcdef",
    hint="The control has one seed and one factor for each loss, at one learning rate.",
    praise="For example: with SGD and eight epochs the losses differed mostly by the length of "
    "their steps, because little is left when the first gradients are made equally long. "
    "Learning from the teacher stays ahead of labels. One seed ranks nobody at the top.",
    mistakes=wrong_options(
        a="PLD at tau = 4 gains 12 points by a constant alone.",
        b="They end within a point of each other, and one seed scatters by about as much.",
        c="AdamW divides by the gradient's size, so a constant would hardly matter there.",
        d="CE got the same treatment and stayed about eight points behind.",
        e="A factor in front of a loss acts like a learning rate under SGD.",
        f="The factors were computed for this start and teacher; others need others.",
    ),
)

EXERCISES = (SIZES, WHAT_IT_SHOWS)

"""An experiment that takes a second."""

from dataclasses import replace

from pld_edu.distill.experiment import EXPERIMENTS, Recipe

SMALL = replace(
    EXPERIMENTS["mnist1d"],
    train=200,
    held_out=100,
    test=100,
    teacher_recipe=Recipe(epochs=2, batch_size=50, learning_rate=0.01, weight_decay=0.5),
    student_recipe=Recipe(epochs=3, batch_size=50, learning_rate=0.02, weight_decay=0.1),
    temperatures=(1.0, 4.0),
    seeds=2,
)

"""An experiment on the shipped slice of CIFAR-100 that takes a few seconds."""

from dataclasses import replace

from pld_edu.data import split_slice
from pld_edu.distill.experiment import EXPERIMENTS, SGDRecipe

RECIPE = SGDRecipe(epochs=2, batch_size=16, learning_rate=0.02, weight_decay=5e-4)
SMALL_IMAGES = replace(
    EXPERIMENTS["cifar100"],
    teacher="resnet14",
    student="resnet8",
    train=48,
    held_out=20,
    test=40,
    teacher_recipe=RECIPE,
    student_recipe=RECIPE,
    methods=("ce", "dist", "dkd", "pld"),
    temperatures=(1.0, 4.0),
    more=(),
    primary=(),
    teacher_seed=0,
    seeds=2,
    precision="float32",
    curve_samples=20,
)

slice_of_cifar100 = split_slice  # stands for `pld_edu.data.cifar100`: needs no download

"""What a run leaves behind: rows, predicted classes, curves, stored logits, the teacher's sizes."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .._files import write_json
from ..results.methods import Setting
from ..results.metrics import top_k_accuracy
from ..results.records import (
    STORED_SEED,
    provenance,
    round_logits,
    write_logits,
    write_predictions,
)
from .augment import Views, crop_and_flip, draw_views, normalise
from .experiment import Experiment
from .networks import count_parameters
from .saturation import saturation
from .train import Samples, Trainer, batches, predict

Row = dict[str, Any]
Owners = dict[str, tuple[Setting, int]]  # the setting and seed of each student, by its name


class Record:
    """The results of an experiment, which lie in its folder."""

    def __init__(
        self, experiment: Experiment, folder: Path, train: Samples, held_out: Samples, test: Samples
    ) -> None:
        self.experiment, self.folder = experiment, folder
        self.train, self.held_out, self.test = train, held_out, test

    def describe(self, teacher: nn.Module, untrained: nn.Module, history: list[Row]) -> None:
        """Write ``teacher.json``, unless it is there: sizes, accuracies, saturation, its history.

        Saturation is seen by `untrained`, the student of seed 0: on the training samples,
        `temperatures`, and of images also on `views` of them. The teacher's test logits, and the
        labels, go into files too.
        """
        path = self.folder / "teacher.json"
        if path.exists():
            return
        np.save(self.folder / "labels.npy", self.test.labels.cpu().numpy())
        (found,) = self.evaluate(teacher)
        if found is None:
            raise FloatingPointError(f"the logits of {self.experiment.teacher} are not finite")
        logits, accuracies = found
        write_logits(self.folder, "teacher", logits, self.experiment.teacher_seed)
        networks = teacher, untrained
        plain = [predict(network, self.train.inputs) for network in networks]
        description = {
            "name": self.experiment.teacher,
            "parameters": count_parameters(teacher),
            "student_parameters": count_parameters(untrained),
            **accuracies,
            "temperatures": self.saturation([*plain, self.train.labels]),
            "epochs": history,
        }
        if self.experiment.images:
            description["views"] = self.saturation(self.see_views(networks))
        write_json(path, description)

    def make_rows(
        self, owners: Owners, trainer: Trainer, rates: Mapping[Setting, float]
    ) -> list[Row]:
        """One row for each student; the test logits of one seed go into files.

        A student that diverged has no accuracies; one whose logits cannot be stored did so at last.
        """
        experiment, place = self.experiment, self.test.labels.device
        pair = {name: getattr(experiment, name) for name in ("dataset", "teacher", "student")}
        device = torch.cuda.get_device_name(place) if place.type == "cuda" else "cpu"
        epochs = experiment.student_recipe.epochs
        own = 1 / len(owners)  # they trained together
        steps = len(trainer.history) * trainer.steps
        pace = 1000 * trainer.training_seconds / steps if steps else None
        times = {"seconds": own * trainer.seconds, "ms_per_step": pace and own * pace}
        origin = times | {"device": device} | provenance()
        found, rows = chain.from_iterable(map(self.evaluate, trainer.networks)), []
        for (name, (setting, seed)), tested in zip(owners.items(), found, strict=True):
            row = pair | {**setting._asdict(), "seed": seed, "epochs": epochs}
            row["learning_rate"] = rates[setting]
            if tested is None or name in trainer.diverged:
                lost = trainer.diverged.get(name, {"epoch": epochs, "step": trainer.steps})
                row |= (
                    dict.fromkeys(("top1", "top5", "held_out_top1"))
                    | origin
                    | {"diverged": lost, "predicted": None}
                )
            else:
                logits, accuracies = tested
                if seed == STORED_SEED:
                    write_logits(self.folder, setting.name, logits, seed)
                row |= accuracies | origin | {"predicted": logits.argmax(axis=-1).tolist()}
            rows.append(row)
        return rows

    def evaluate(self, network: nn.Module) -> Iterator[tuple[np.ndarray, dict[str, float]] | None]:
        """Test logits [N, C] and accuracies in percent, of the network or of each in a `Stack`.

        None stands for logits that cannot be stored, since they are not finite or too large.
        """

        def predict_each(data: Samples) -> np.ndarray:
            logits = predict(network, data.inputs)
            return logits.reshape(-1, *logits.shape[-2:]).cpu().numpy()

        both = zip(predict_each(self.test), predict_each(self.held_out), strict=True)
        for tested, unseen in both:
            try:
                round_logits(tested), round_logits(unseen)
            except FloatingPointError:
                yield None
                continue
            top1, top5 = (accuracy(tested, self.test, k) for k in (1, 5))
            held_out_top1 = accuracy(unseen, self.held_out)
            yield tested, {"top1": top1, "top5": top5, "held_out_top1": held_out_top1}

    def gather(self) -> None:
        """Add the finished jobs to the results, the rows last; only then their files go."""
        if not (paths := sorted(self.folder.glob("seed-*.json"))):
            return
        parts = [json.loads(path.read_text()) for path in paths]
        rows = [row for part in parts for row in part["rows"]]
        predicted = [(row, row.pop("predicted")) for row in rows]
        write_predictions(self.folder, [(row, found) for row, found in predicted if found])
        if self.experiment.images:
            self.add("curves", [line for part in parts for line in part["curves"]])
        self.add("rows", rows)
        for path in paths:
            path.unlink()

    def add(self, name: str, lines: Iterable[Row]) -> None:
        """Add lines to ``NAME.json``, by setting, seed and epoch; one that is there is replaced."""
        path, order = self.folder / f"{name}.json", self.experiment.settings
        there = json.loads(path.read_text()) if path.exists() else []

        def place(line: Row) -> tuple[int, int, int]:
            setting = Setting(line["method"], line["temperature"])
            return order.index(setting), line["seed"], line.get("epoch", 0)

        found = {place(line): line for line in (*there, *lines)}
        write_json(path, [found[key] for key in sorted(found)])

    def see_views(self, networks: Iterable[nn.Module]) -> list[Tensor]:
        """Logits of each network on what seed 0 sees in its first epoch, and the labels."""
        size, samples = self.experiment.student_recipe.batch_size, len(self.train.labels)
        parts = []
        for step, rows in enumerate(batches(0, 0, samples, size)):
            images, labels = (part[torch.from_numpy(rows)] for part in self.train)
            views = Views(*(part.to(labels.device) for part in draw_views(0, 0, step, size)))
            seen = crop_and_flip(normalise(images), views)
            parts.append([*(predict(network, seen) for network in networks), labels])
        return [torch.cat(part) for part in zip(*parts, strict=True)]

    def saturation(self, seen: Iterable[Tensor]) -> list[Row]:
        """Of teacher logits, student logits and labels, at each temperature of the experiment."""
        t, s, labels = seen
        taus = sorted({setting.temperature or 1.0 for setting in self.experiment.settings})
        return [{"temperature": tau} | saturation(t, labels, s, tau) for tau in taus]


def accuracy(logits: Tensor | np.ndarray, data: Samples, k: int = 1) -> float:
    """Top-k accuracy in percent."""
    return top_k_accuracy(torch.as_tensor(logits).cpu().numpy(), data.labels.cpu().numpy(), k)


def pick_trials(
    screen: Iterable[Mapping[str, Any]], group: Callable[[Setting], Any]
) -> dict[Any, tuple[Setting, float]]:
    """For each group of settings the setting and learning rate with the best held-out accuracy.

    The accuracy is the mean over a screen's rows, such as several seeds; a trial with a student
    that diverged (None) comes last, and the first of equals wins.
    """
    found: dict[tuple[Setting, float], list[float]] = {}
    for row in screen:
        trial = Setting(row["method"], row["temperature"]), row["learning_rate"]
        top1 = row["held_out_top1"]
        found.setdefault(trial, []).append(-math.inf if top1 is None else top1)
    best: dict[Any, tuple[Setting, float]] = {}
    for trial, own in found.items():
        rival = best.setdefault(group(trial[0]), trial)
        if np.mean(own) > np.mean(found[rival]):
            best[group(trial[0])] = trial
    return best

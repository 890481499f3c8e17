#!/usr/bin/env python3
"""Which flights arrive late? Trains on the flights that left New York in 2013.

One network sees the schedule and the weather; the other also has embeddings of
the aircraft, the flight number, the route, the carrier and the hour, which the
TPU embedding ops train on this CPU. Learns from January to September, picks
the best moment by October, and is judged on November and December.

Writes a learning curve, a checkpoint and a SavedModel for serving into --out.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import time

# Quiet, and the same numbers on every CPU.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import flights_data
import flights_options
import numpy as np
import tensorflow as tf
from flights_data import Flights
from flights_model import BATCH, Baseline, Embedded
from flights_serving import export, questions
from rich import console, progress, table
from sklearn import metrics

SEED = 1
EPOCHS = 3
LOOKS_PER_EPOCH = 4  # at the validation data
HERE = pathlib.Path(__file__).resolve().parent

screen = console.Console(highlight=False)


def say(text: str) -> None:
    screen.print(f"[bold cyan]>[/] {text}", soft_wrap=True)


@dataclasses.dataclass
class Curve:
    steps: list[int] = dataclasses.field(default_factory=list)
    train_loss: list[float] = dataclasses.field(default_factory=list)
    validation_loss: list[float] = dataclasses.field(default_factory=list)
    validation_auc: list[float] = dataclasses.field(default_factory=list)
    seconds: float = 0


@dataclasses.dataclass
class Score:
    loss: float
    auc: float

    @classmethod
    def of(cls, labels: np.ndarray, predicted: np.ndarray) -> Score:
        return cls(
            float(metrics.log_loss(labels, predicted.astype(np.float64))),
            float(metrics.roc_auc_score(labels, predicted)),
        )


def fit(model: Baseline, flights: Flights, epochs: int, path: str) -> Curve:
    """Trains, and leaves the model as it was when validation went best."""
    random = np.random.default_rng(SEED)
    curve = Curve()
    steps_per_epoch = len(flights.train) // BATCH
    steps = epochs * steps_per_epoch
    looks = np.linspace(0, steps, epochs * LOOKS_PER_EPOCH + 1).astype(int)[1:]
    losses = []
    checkpoint = tf.train.Checkpoint(**model.tensors())
    begin = time.monotonic()
    columns = (
        progress.TextColumn("{task.description:19}"),
        progress.BarColumn(bar_width=30),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TextColumn("{task.fields[scores]}"),
    )
    with progress.Progress(*columns, console=screen) as bar:
        task = bar.add_task(model.name, total=steps, scores="")
        for step in range(steps):
            if step % steps_per_epoch == 0:
                order = random.permutation(len(flights.train))
            start = step % steps_per_epoch * BATCH
            losses.append(model.train(flights.train, order[start : start + BATCH]))
            bar.advance(task)
            if step + 1 not in looks:
                continue
            predicted = model.predict(flights.validation)
            score = Score.of(flights.validation.labels, predicted)
            curve.steps.append(step + 1)
            curve.train_loss.append(float(np.mean(losses)))
            curve.validation_loss.append(score.loss)
            curve.validation_auc.append(score.auc)
            losses.clear()
            scores = f"loss {curve.train_loss[-1]:.4f}, AUC {score.auc:.4f}"
            bar.update(task, scores=scores)
            if score.auc == max(curve.validation_auc):
                model.tensors()  # brings the engine's tables up to date
                checkpoint.write(path)
    checkpoint.read(path).assert_consumed()
    model.restored()
    curve.seconds = time.monotonic() - begin
    return curve


def check_checkpoint(model: Embedded, path: str, flights: Flights) -> int:
    """Writes, wipes, restores; returns how many bytes came back the same.

    Raises:
      AssertionError: A bit of a tensor or of a prediction differs.
    """
    variables = model.tensors()
    before = {name: variable.numpy() for name, variable in variables.items()}
    predicted = model.predict(flights.validation)
    checkpoint = tf.train.Checkpoint(**variables)
    checkpoint.write(path)
    for variable in variables.values():
        variable.assign(tf.zeros_like(variable))
    checkpoint.read(path).assert_consumed()
    model.restored()
    for name, variable in model.tensors().items():
        assert variable.numpy().tobytes() == before[name].tobytes(), name
    again = model.predict(flights.validation)
    assert again.tobytes() == predicted.tobytes(), "predictions differ"
    return sum(value.nbytes for value in before.values())


def draw(curves: dict[str, Curve], path: pathlib.Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    for (name, curve), color in zip(curves.items(), ("C7", "C0"), strict=True):
        left.plot(curve.steps, curve.train_loss, color, label=f"{name}, training")
        left.plot(
            curve.steps, curve.validation_loss, color + "--", label=f"{name}, October"
        )
        right.plot(curve.steps, curve.validation_auc, color, label=name, marker=".")
    left.set(xlabel=f"steps of {BATCH} flights", ylabel="log loss")
    right.set(xlabel=f"steps of {BATCH} flights", ylabel="AUC on October")
    for axes in (left, right):
        axes.legend(fontsize="small")
        axes.grid(alpha=0.3)
    figure.suptitle("Which flights arrive more than 15 minutes late?")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def ask(
    model: Embedded, flights: Flights, predicted: np.ndarray, out: pathlib.Path
) -> None:
    """Exports, asks in a fresh process, and compares with the engine's answers."""
    export(model, flights.vocabulary, out / "model")
    # From the surest to arrive in time to the surest to be late.
    order = np.argsort(predicted, kind="stable")
    chosen = order[(np.linspace(0.02, 0.98, 6) * len(order)).astype(int)]
    (out / "questions.json").write_text(
        json.dumps(questions(flights.test, chosen, flights.vocabulary))
    )
    command = [sys.executable, str(HERE / "flights_ask.py")]
    result = subprocess.run(
        [*command, str(out / "model"), str(out / "questions.json")],
        env=os.environ | {"PYTHONPATH": ""},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    answers = json.loads(result.stdout.splitlines()[-1])
    # The same float32 sums, but not always in the same order.
    np.testing.assert_allclose(answers, predicted[chosen], rtol=1e-4, atol=1e-6)

    shown = table.Table(title="The exported model, asked from a fresh process")
    for heading in ("flight", "date", "from-to", "aircraft", "arrived"):
        shown.add_column(heading)
    shown.add_column("chance of being late", justify="right")
    for i, answer in zip(chosen, answers, strict=True):
        row = flights.test.rows.iloc[i]
        delay = int(row["arr_delay"])
        shown.add_row(
            row["flight_code"],
            f"{row['month']:02}-{row['day']:02} {row['hour']:02}:{row['minute']:02}",
            row["route"],
            row["tailnum"],
            f"{abs(delay)} min {'late' if delay > 0 else 'early'}"
            if delay
            else "on time",
            f"{answer:.1%}",
        )
    screen.print(shown)


def main() -> None:
    options = flights_options.parse(
        flights_options.parser(__doc__, "./run demo"), EPOCHS
    )
    out = options.out

    say("reading the flights")
    flights = flights_data.load()
    say(
        f"{flights.in_file:,} flights left New York in 2013; {flights.never_arrived:,}"
        " never arrived and are left out"
    )
    say(
        f"training on {len(flights.train):,} (January-September), validating on"
        f" {len(flights.validation):,} (October), testing on {len(flights.test):,}"
        " (November, December)"
    )
    curves = {}
    scores = {}
    for kind, name in ((Baseline, "baseline"), (Embedded, "embedded")):
        tf.random.set_seed(SEED)
        model = kind(flights, SEED)
        curves[model.name] = fit(
            model, flights, options.epochs, str(out / f"{name}.checkpoint")
        )
        predicted = model.predict(flights.test)
        scores[model.name] = Score.of(flights.test.labels, predicted)

    shown = table.Table(title="November and December, which no model has seen")
    shown.add_column("")
    for heading in ("log loss", "AUC", "seconds"):
        shown.add_column(heading, justify="right")
    # Always guessing the share of late flights: what a loss is worth.
    share = np.full(len(flights.test), flights.train.labels.mean())
    guess = Score.of(flights.test.labels, share)
    shown.add_row("always the average", f"{guess.loss:.4f}", f"{guess.auc:.4f}", "")
    for name, score in scores.items():
        shown.add_row(
            name,
            f"{score.loss:.4f}",
            f"{score.auc:.4f}",
            f"{curves[name].seconds:.0f}",
        )
    screen.print(shown)

    draw(curves, out / "learning_curve.png")
    say(f"learning curve: {out / 'learning_curve.png'}")
    same = check_checkpoint(model, str(out / "embedded.checkpoint"), flights)
    say(
        f"checkpoint {out / 'embedded.checkpoint'}: written, engine wiped, restored;"
        f" all {same:,} bytes and all predictions are the same"
    )
    ask(model, flights, predicted, out)
    say(f"exported for serving with stock ops: {out / 'model'}")


if __name__ == "__main__":
    main()

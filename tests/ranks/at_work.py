"""What each process of tests/ranks/test_ranks.py does: `python at_work.py SCENARIO FOLDER`, with torchrun's variables set or not."""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import sightline as sl
from processes import EndsAt
from sightline import layers
from sightline.callbacks import BackupAndRestore, Callback, EarlyStopping, TimeBudget
from sightline.training.ranks import current, joined


def network(norm=False, seed=None, classes=3, dtype=torch.float64):
    torch.manual_seed(0)
    model = sl.Sequential(
        [
            sl.Input((8, 8, 3)),
            layers.RandomFlip(seed=seed),
            layers.RandomRotation(0.1, seed=seed),
            layers.RandomTranslation(0.1, 0.1, seed=seed),
            layers.RandomZoom(0.1, seed=seed),
            layers.RandomContrast(0.3, value_range=(0, 1), seed=seed),
            layers.RandomBrightness(0.1, value_range=(0, 1), seed=seed),
            layers.Conv2D(6, 3, padding="same", use_bias=not norm, kernel_regularizer="l2"),
            *([layers.BatchNormalization(momentum=0.8)] if norm else []),
            layers.ReLU(),
            layers.SpatialDropout2D(0.3, seed=seed),
            layers.MaxPooling2D(),
            layers.Conv2D(8, 3, activation="relu"),
            *([layers.BatchNormalization(scale=False, center=False)] if norm else []),
            layers.Dropout(0.4, seed=seed),
            layers.Flatten(),
            layers.Dropout(0.2, noise_shape=(None, 1), seed=seed),
            layers.Dense(classes, activation="softmax"),
        ]
    )
    return model.to(dtype)


def data(n, classes=3, seed=1):
    rng = np.random.default_rng(seed)
    return rng.random((n, 8, 8, 3), dtype=np.float32), rng.integers(0, classes, n)


def fitted(model, n=37, epochs=2, optimizer=None, callbacks=(), y=None, **more):
    """10 steps of SGD: 2 epochs of 5 batches, the last of which has 5 samples (or, of 33, 1)."""
    chosen = {"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"], "precision": "float32"}
    compiled = {name: more.pop(name) for name in ("loss", "metrics", "weighted_metrics") if name in more}
    model.compile(optimizer or sl.optimizers.SGD(0.05), **chosen | compiled)
    x, classes = data(n)
    torch.manual_seed(3)
    said = model.fit(
        x, classes if y is None else y, batch_size=8, epochs=epochs, verbose=0, callbacks=list(callbacks), **more
    )
    return {"history": said.history, "weights": [tensor.clone() for tensor in model.state_dict().values()]}


def few():
    """With and without BatchNormalization."""
    return {f"norm {norm}": fitted(network(norm), validation_data=data(13, seed=2)) for norm in (False, True)}


def trained():
    """Every kind of training that must not depend on the number of processes. Numbers are float64, but for the first's."""
    found = {"float32": fitted(network(dtype=torch.float32))}
    found |= {f"norm {norm}, seed 4": fitted(network(norm, 4)) for norm in (False, True)}
    found |= few()
    found["one sample in the last batch"] = fitted(network(), n=33)
    found["one sample in the last batch, normalised"] = fitted(network(norm=True), n=33)
    weights = np.random.default_rng(5).random(37).astype(np.float32)
    for reduction in ("sum_over_batch_size", "mean_with_sample_weight", "sum"):
        loss = sl.losses.SparseCategoricalCrossentropy(reduction=reduction, ignore_class=2)
        optimizer = sl.optimizers.SGD(0.01, momentum=0.9, nesterov=True, global_clipnorm=1.0, weight_decay=0.01)
        found[f"weighted, {reduction}"] = fitted(
            network(), optimizer=optimizer, loss=loss, sample_weight=weights, weighted_metrics=["accuracy"]
        )
    shares = np.eye(2, dtype=np.float32)[data(37, 2)[1]]
    counts = ["accuracy", sl.metrics.AUC(), sl.metrics.Precision(), sl.metrics.Recall(), sl.metrics.OneHotIoU(2, [1])]
    found["metrics"] = fitted(network(classes=2), y=shares, loss="categorical_crossentropy", metrics=counts)
    found["stopped"] = fitted(network(), callbacks=[EarlyStopping("loss", mode="max", patience=1)], epochs=9)
    light = network(norm=True, dtype=torch.float32)
    light = sl.rewrite.recompute(light, [("conv2d", "batch_normalization", "re_lu", "spatial_dropout2d")])
    found["recomputed"] = fitted(light.double())
    found["no row in a process, float32"] = fitted(plain(layers.Reshape((-1, 4, 1))), n=33)
    one_number = fitted(plain(), n=33, loss=lambda true, said: (said - true.reshape(-1, 1)).square().mean())
    assert all(np.isfinite(one_number["history"]["loss"]))
    found["one number for a batch"] = one_number
    found["another order of memory"] = fitted(plain(layers.Cropping2D(1), layers.Dropout(0.5)))
    found["transposed"] = fitted(plain(layers.Permute((3, 1, 2)), layers.Dropout(0.5, seed=3)))
    found["uninterrupted"] = fitted(network(norm=True, seed=2), callbacks=[EndsAt(0)], epochs=4)
    found["numbers"] = numbers()
    return found


def plain(*between):
    torch.manual_seed(0)
    conv = layers.Conv2D(4, 3, activation="relu")
    return sl.Sequential([sl.Input((8, 8, 3)), conv, *between, layers.Flatten(), layers.Dense(3, activation="softmax")])


def own_draws():
    """A layer of someone else that draws: not the same numbers as one process's, but all go on alike."""
    model = fitted(plain(layers.Torch(torch.nn.Dropout(0.5))))
    orders = torch.randperm(100)
    return {"drawn": model | {"weights": [*model["weights"], orders]}}


class Fails(layers.Layer):
    """A layer whose process runs out of memory once, in evaluation."""

    armed = False

    def forward(self, x):
        if Fails.armed and not self.training:
            Fails.armed = False
            raise torch.OutOfMemoryError("on purpose")
        return x * 1


def evaluated():
    found = {}
    for batch in (1, 3, 5):
        for reduction in ("sum", "sum_over_batch_size"):
            model = plain(Fails())
            model.compile("sgd", sl.losses.SparseCategoricalCrossentropy(reduction=reduction), metrics=["accuracy"])
            x, y = data(37)
            Fails.armed = current() is not None and current().number == 1
            logs = model.evaluate(x[: 8 * batch], y[: 8 * batch], batch_size=8, verbose=0, return_dict=True)
            found[f"{batch} {reduction}"] = {
                "history": {name: [value] for name, value in logs.items()},
                "weights": [torch.ones(1)],
            }
    return found


class Kept(sl.metrics.Metric):
    """Counts in an array, or in a list, which cannot be added up."""

    def __init__(self, growing=False, name="kept"):
        super().__init__(name)
        self.growing = growing
        self.reset_state()

    def reset_state(self):
        self.counts = [] if self.growing else np.zeros(2)

    def update_state(self, y_true, y_pred, sample_weight=None):
        if self.growing:
            self.counts.extend([float(len(y_true))] * len(y_true))
        else:
            self.counts += len(y_true)

    def result(self):
        return float(sum(self.counts))


def counted():
    found = fitted(plain(), metrics=[Kept()], epochs=1)
    assert found["history"]["kept"] == [74.0], found["history"]
    with pytest.raises(sl.errors.SightlineError, match="cannot be added up"):
        fitted(plain(), metrics=[Kept(growing=True)], epochs=1)
    return {"array": found}


def numbers():
    """What evaluation and the learning-rate finder give."""
    torch.manual_seed(0)
    model = sl.Sequential([sl.Input((8, 8, 3)), layers.Flatten(), layers.Dense(3, activation="softmax")])
    fitted(model.double(), epochs=1)
    x, y = data(29, seed=3)
    evaluated = model.evaluate(x, y, batch_size=8, verbose=0, return_dict=True)
    x, y = data(120)
    x += np.eye(3, dtype=np.float32)[y][:, None, None]
    sweep = sl.lr_find(model, x, y, batch_size=16, steps=40, start=1e-4, end=1.0, verbose=0)
    return {
        "history": {name: [value] for name, value in evaluated.items()},
        "weights": [torch.tensor(sweep.losses[:20])],
    }


class DiesAt(Callback):
    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations == 3 and current().number == 1:
            os.kill(os.getpid(), signal.SIGKILL)


def resumed(folder, end):
    """A training kept in a folder, until a step (0: to its end)."""
    kept = BackupAndRestore(folder / "kept", save_freq=1, delete_checkpoint=False)
    try:
        return fitted(network(norm=True, seed=2), callbacks=[kept, EndsAt(end)], epochs=4)
    except InterruptedError:
        return None


SCENARIOS = {"own-draws": own_draws, "evaluated": evaluated, "counted": counted}


def main():
    scenario, folder = sys.argv[1], Path(sys.argv[2])
    torch.set_num_threads(1)
    with joined():
        ranks = current()
        if scenario in ("trained", "few"):
            found = trained() if scenario == "trained" else few()
        elif scenario in SCENARIOS:
            found = SCENARIOS[scenario]()
        elif scenario == "out-of-memory":
            if ranks is not None and ranks.number != 1:
                os.environ.pop("SIGHTLINE_FAULT", None)  # it happens in the second process alone
            found = few()
        elif scenario == "dies":
            found = {"never": fitted(network(), callbacks=[DiesAt()])}
        elif scenario == "budget":
            minutes = 0.02 if ranks.number == 1 else 1e6
            found = {"budget": fitted(network(), callbacks=[TimeBudget(minutes)], epochs=100_000)}
        else:
            found = {"resumed": resumed(folder, int(scenario))}
        number = 0 if ranks is None else ranks.number
        torch.save(found, folder / f"{scenario} {1 if ranks is None else ranks.count} {number}.pt")


if __name__ == "__main__":
    from sightline.errors import SightlineError

    try:
        main()
    except SightlineError as error:
        sys.exit(f"error: {error}")

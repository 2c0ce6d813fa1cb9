"""What a training says before its first step where memory will not suffice, and what is computed again to need less."""

import numpy as np
import pytest
import torch

import sightline as sl
from sightline import layers
from sightline.errors import SightlineError
from sightline.measure import limits, memory, shortage
from sightline.rewrite import recompute

pytestmark = pytest.mark.usefixtures("without_report")


@pytest.fixture
def free(monkeypatch):
    """Sets what is free."""
    return lambda size: monkeypatch.setattr(limits, "free", lambda device: size)


def wide():
    return sl.Sequential(
        [
            sl.Input((64, 64, 3)),
            *(layers.Conv2D(64, 3, padding="same", activation="relu") for _ in range(3)),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2, activation="softmax"),
        ],
        name="wide",
    )


def data(count=4):
    return np.zeros((count, 64, 64, 3), np.float32), np.arange(count) % 2


def test_fit_says_before_its_first_step_what_will_be_missing(free, capsys):
    model = wide()
    model.compile("adam", "sparse_categorical_crossentropy")
    plan = memory(model, 4)
    free(plan.beyond_network - 1)
    model.fit(*data(), batch_size=4, verbose=2)
    said = capsys.readouterr().out
    assert "Memory: wide with batches of 4 is planned to peak at" in said
    assert said.index("Memory: wide") < said.index("Epoch 1/1")
    for remedy in plan.remedies():
        assert remedy.name in said

    free(plan.beyond_network)
    model.fit(*data(), batch_size=4, verbose=2)
    assert "Memory" not in capsys.readouterr().out


def test_a_run_is_refused_or_says_so_and_trains(free, tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for split in ("train", "validation", "test"):
        for kind in ("a", "b"):
            for number in range(4):
                path = tmp_path / "photos" / split / kind / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(path)
    free(1_000_000)
    arguments = {"epochs": 1, "batch_size": 4, "image_size": 32, "runs": str(tmp_path / "runs")}
    with pytest.raises(SightlineError, match=r"More memory than there is.*--fit-memory auto"):
        sl.train(tmp_path / "photos", name="refused", **arguments)
    run = sl.train(tmp_path / "photos", fit_memory="off", **arguments)
    log = (run.path / "log.txt").read_text()
    assert log.count("Memory: small_cnn with batches of 4 is planned to peak at") == 1
    assert log.index("Memory:") < log.index("Epoch 1/1")


def test_what_fits_by_far_is_not_planned(free, monkeypatch):
    monkeypatch.setattr(shortage, "memory", None)  # a call would fail
    free(64 * 2**30)
    assert shortage.shortage(sl.create("mnist_cnn"), 32) is None
    free(None)
    assert shortage.shortage(sl.create("mnist_cnn"), 32) is None


def test_the_bound_from_shapes_alone_is_one():
    for name in ("resnet18", "vgg11", "densenet121", "mobilenetv2"):
        with torch.device("meta"):
            model = sl.create(name, (96, 96, 3), 10)
        for size in (1, 16):
            assert shortage._most(model, size) > memory(model, size, device="cpu").beyond_network


def test_a_network_that_cannot_be_planned_trains_without_a_word(free, capsys):
    class Particular(layers.Layer):
        foreign = True

        def forward(self, x):
            if torch.is_grad_enabled() and type(x) is not torch.Tensor:
                raise ZeroDivisionError
            return x

    model = sl.Sequential(
        [sl.Input((8, 8, 3)), Particular(), layers.Flatten(), layers.Dense(2, activation="softmax", name="last")]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    free(1)
    model.fit(np.ones((4, 8, 8, 3), np.float32), np.arange(4) % 2, verbose=2)
    assert "Memory" not in capsys.readouterr().out


def test_a_persons_own_layer_neither_ends_the_fit_nor_is_run_more_often(free, capsys):
    class Counting(layers.Layer):
        calls = 0

        def forward(self, x):
            assert x.shape[2] == 64
            self.calls += 1
            return x

        def get_config(self):
            raise NotImplementedError

    seen = []
    for size in (1, 2**40):
        counting = Counting()
        model = sl.Sequential([sl.Input((64, 64, 3)), layers.Conv2D(8, 3, padding="same"), counting, layers.Flatten()])
        model.compile("adam", "mse")
        free(size)
        model.fit(np.zeros((2, 64, 64, 3), np.float32), np.zeros((2, 64 * 64 * 8), np.float32), verbose=2)
        seen.append(counting.calls)
        assert ("Memory:" in capsys.readouterr().out) == (size == 1)
    assert seen[0] == seen[1]


def test_with_two_inputs_nothing_before_they_meet_is_forgotten():
    image, more = sl.Input((16, 16, 3)), sl.Input((2,))
    x = image
    for _ in range(4):
        x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(x)))
    model = sl.Model([image, more], layers.Dense(3)(layers.Concatenate()([layers.GlobalAveragePooling2D()(x), more])))
    with pytest.raises(sl.SightlineError, match="keep so little"):
        memory(model, 4).checkpoints(0.5)


# --- activation checkpointing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "share"), [("resnet50", 0.5), ("resnet18", 0.6), ("mobilenetv2", 0.6)])
def test_checkpoints_keep_the_share_that_was_asked_for(name, share):
    with torch.device("meta"):
        model = sl.create(name, (128, 128, 3), 10)
    plan = memory(model, 32, device="cpu")
    lighter = plan.again(model=recompute(model, plan.checkpoints(share)))
    assert lighter.activations <= 1.05 * share * plan.activations
    assert lighter.peak < plan.peak


def test_less_is_computed_again_where_more_may_be_kept():
    with torch.device("meta"):
        model = sl.create("resnet50", (128, 128, 3), 10)
    plan = memory(model, 8, device="cpu")
    macs = {row.name: row.macs for row in sl.measure.cost(model).nodes}
    costs = [sum(macs[name] for part in plan.checkpoints(share) for name in part) for share in (0.45, 0.6, 0.8, 1.0)]
    assert costs == sorted(costs, reverse=True)
    assert costs[0] > costs[2]
    assert costs[-1] == 0


def test_shares_that_cannot_be_had_are_refused():
    plan = memory(sl.create("mnist_cnn"), 32)
    with pytest.raises(sl.SightlineError, match="No checkpoints of mnist_cnn keep so little"):
        plan.checkpoints(0.01)
    for share in (0, 1.5, True, "half"):
        with pytest.raises(sl.SightlineError, match="share is a share of the activations"):
            plan.checkpoints(share)
    with pytest.raises(sl.SightlineError, match="Inference keeps nothing"):
        memory(sl.create("mnist_cnn"), 32, training=False).checkpoints()

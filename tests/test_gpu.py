"""What a GPU changes: nothing but the speed. Memory that really runs out, resuming to the bit, several processes.

`make test-gpu` runs this; elsewhere no test sees a GPU.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed

import sightline as sl
from processes import EndsAt, free_port
from sightline import layers
from sightline.callbacks import BackupAndRestore
from sightline.data.digits import write_digits
from sightline.runs.run import Run
from sightline.training import step as step_file
from sightline.training.ranks import Ranks

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="there is no GPU here, or it is hidden: make test-gpu"
)


def network(norm=True, dropout=0.0, classes=3, dtype=torch.float64, device="cuda"):
    torch.manual_seed(0)
    model = sl.Sequential(
        [
            sl.Input((16, 16, 3)),
            layers.RandomFlip(),
            layers.RandomRotation(0.1),
            layers.RandomZoom(0.1),
            layers.RandomContrast(0.3, value_range=(0, 1)),
            layers.Conv2D(8, 3, padding="same", strides=2, kernel_regularizer="l2"),
            *([layers.BatchNormalization()] if norm else []),
            layers.ReLU(),
            layers.DepthwiseConv2D(3, padding="same"),
            layers.SpatialDropout2D(dropout),
            layers.MaxPooling2D(),
            layers.Conv2D(8, 3, activation="relu"),
            *([layers.BatchNormalization()] if norm else []),
            layers.Dropout(dropout),
            layers.Flatten(),
            layers.Dense(classes, activation="softmax"),
        ]
    )
    return model.to(device, dtype)


def data(n=37, size=16):
    rng = np.random.default_rng(1)
    return rng.random((n, size, size, 3), dtype=np.float32), rng.integers(0, 3, n)


def fitted(model, epochs=3, optimizer=None, callbacks=(), precision="float32", metrics=("accuracy",), **more):
    x, y = data()
    model.compile(
        optimizer or sl.optimizers.SGD(0.05, momentum=0.9),
        "sparse_categorical_crossentropy",
        metrics=list(metrics),
        precision=precision,
    )
    torch.manual_seed(3)
    history = model.fit(x, y, batch_size=8, epochs=epochs, verbose=0, callbacks=list(callbacks), **more)
    return history.history, [tensor.cpu().clone() for tensor in model.state_dict().values()]


def assert_same(found, expected, atol):
    for one, other in zip(found[1], expected[1], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=atol)
    for name, values in expected[0].items():
        np.testing.assert_allclose(found[0][name], values, rtol=0, atol=max(atol, 1e-9), err_msg=name)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_training_is_as_on_the_cpu(name):
    both = [
        fitted(network(device=device), optimizer=getattr(sl.optimizers, name)(0.003), validation_data=data(13))
        for device in ("cuda", "cpu")
    ]
    assert_same(*both, atol=1e-8)


def test_metrics_are_as_on_the_cpu():
    metrics = [lambda: sl.metrics.AUC(), lambda: sl.metrics.Precision(), lambda: sl.metrics.MeanIoU(2)]
    x, y = data()
    found = []
    for device in ("cuda", "cpu"):
        torch.manual_seed(0)
        model = sl.Sequential([sl.Input((16, 16, 3)), layers.Flatten(), layers.Dense(1, activation="sigmoid")])
        model.to(device, torch.float64)
        model.compile("sgd", "binary_crossentropy", metrics=[make() for make in metrics])
        found.append(model.evaluate(x, (y > 1).astype(np.float32), verbose=0, return_dict=True))
    assert found[0] == pytest.approx(found[1], abs=1e-9)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_sixteen_bits_learn(precision):
    """The first updates are float32's nearly, and the loss falls as far."""
    found, _ = fitted(network(dtype=torch.float32), epochs=12, precision=precision)
    expected, _ = fitted(network(dtype=torch.float32), epochs=12)
    assert found["loss"][0] == pytest.approx(expected["loss"][0], rel=0.15)
    assert found["loss"][-1] < 0.9 * expected["loss"][0]


def test_precision_is_measured(monkeypatch):
    monkeypatch.delenv("SIGHTLINE_PRECISION")
    model = network(dtype=torch.float32)
    fitted(model, epochs=25, precision="auto")
    assert {trial.precision for trial in model.numerics_choice.trials} == {"float32", "bfloat16"}


def test_resumed_to_the_bit(tmp_path):
    """Dropout draws on the GPU: its generator goes on where it stood."""

    def training(**more):
        return fitted(network(dropout=0.3, dtype=torch.float32), optimizer=sl.optimizers.Adam(0.003), **more)

    def kept():
        return BackupAndRestore(tmp_path / "kept", save_freq=1, delete_checkpoint=False)

    expected = training()
    for end in (4, 7, 11):
        with pytest.raises(InterruptedError):
            training(callbacks=[kept(), EndsAt(end)])
    torch.rand(5, device="cuda")
    assert_same(training(callbacks=[kept(), EndsAt(0)]), expected, atol=0)


def test_a_checkpoint_is_read_on_another_device(tmp_path):
    def training(device, **more):
        return fitted(network(device=device), **more)

    expected = training("cpu")
    for end, device in ((4, "cuda"), (7, "cpu")):
        with pytest.raises(InterruptedError):
            training(device, callbacks=[BackupAndRestore(tmp_path / "kept", save_freq=1), EndsAt(end)])
    kept = BackupAndRestore(tmp_path / "kept", save_freq=1)
    assert_same(training("cuda", callbacks=[kept, EndsAt(0)]), expected, atol=1e-8)


def test_a_run_on_the_gpu_answers_the_same_on_the_cpu(tmp_path):
    settings = {"model": "small_cnn", "image_size": 16, "color_mode": "grayscale", "epochs": 2, "seed": 1}
    run = sl.train(write_digits(tmp_path / "digits"), runs=str(tmp_path), name="gpu", **settings)
    again = sl.train(tmp_path / "digits", runs=str(tmp_path), name="again", **settings)
    assert all(map(torch.equal, run.model.to("cpu").parameters(), again.model.to("cpu").parameters()))
    assert Run(run.path).measures.headlines[0].value > 0.5
    x = np.random.default_rng(0).integers(0, 256, (16, 16, 16, 1), dtype=np.uint8)
    on_cpu = run.model.to("cpu").predict(x)
    np.testing.assert_allclose(run.model.to("cuda").predict(x), on_cpu, atol=1e-4)


# --- memory -----------------------------------------------------------------------------------------------------------

LIMITED = """
import sys
import numpy as np, torch
import sightline as sl
from sightline import layers

torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
torch.manual_seed(0)
conv = lambda n, **more: layers.Conv2D(n, 3, padding="same", activation="relu", **more)
model = sl.Sequential([sl.Input((64, 64, 3)), conv(64), conv(64), layers.Dropout(0.3), layers.MaxPooling2D(), conv(64),
                       layers.GlobalAveragePooling2D(), layers.Dense(3, activation="softmax")]).to("cuda")
x = np.random.default_rng(0).random((600, 64, 64, 3), dtype=np.float32)
y = np.random.default_rng(1).integers(0, 3, 600)
model.compile(sl.optimizers.SGD(0.01, momentum=0.9), "sparse_categorical_crossentropy", precision="float32")
free, total = torch.cuda.mem_get_info()
torch.cuda.set_per_process_memory_fraction(float(sys.argv[1]) * 2**20 / total)
torch.manual_seed(1)
history = model.fit(x, y, batch_size=256, epochs=3, verbose=2, validation_data=(x[:300], y[:300]), validation_batch_size=300)
answers = model.predict(x, batch_size=600)
torch.save({"weights": [p.cpu() for p in model.state_dict().values()], "history": history.history,
            "answers": answers, "peak": torch.cuda.max_memory_reserved()}, sys.argv[2])
"""


def test_memory_that_really_runs_out(tmp_path):
    """In training, evaluation and prediction."""

    def trained(mib):
        file = tmp_path / f"{mib}.pt"
        done = subprocess.run([sys.executable, "-c", LIMITED, str(mib), str(file)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return torch.load(file, weights_only=False), done.stdout + done.stderr

    whole, _ = trained(16000)
    parts, said = trained(1200)
    assert "Memory ran out in step 1, which begins again" in said
    assert parts["peak"] <= 1200 * 2**20 < whole["peak"]
    for one, other in zip(parts["weights"], whole["weights"], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
    np.testing.assert_allclose(parts["history"]["val_loss"], whole["history"]["val_loss"], atol=1e-5)
    np.testing.assert_allclose(parts["answers"], whole["answers"], atol=1e-5)


# --- several processes ------------------------------------------------------------------------------------------------


def test_what_processes_tell_each_other_goes_through_nccl(monkeypatch):
    """One process that takes itself for several: every exchange is made, through NCCL."""
    expected = fitted(network(), validation_data=data(13))
    distributed.init_process_group("nccl", init_method=f"tcp://127.0.0.1:{free_port()}", rank=0, world_size=1)
    try:
        monkeypatch.setattr(step_file, "current", Ranks)
        found = fitted(network(), validation_data=data(13))
    finally:
        distributed.destroy_process_group()
    assert_same(found, expected, atol=1e-9)


def test_two_processes_on_one_gpu(tmp_path):
    """Through gloo, as NCCL takes each GPU once."""
    expected = fitted(network(dropout=0.3), validation_data=data(13))
    port = free_port()
    processes = [
        subprocess.Popen(
            [sys.executable, str(Path(__file__)), str(rank), str(port), str(tmp_path)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=200)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    for rank in range(2):
        assert_same(torch.load(tmp_path / f"{rank}.pt", weights_only=False), expected, atol=1e-9)


if __name__ == "__main__":
    number, port, folder = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=number, world_size=2)
    torch.save(fitted(network(dropout=0.3), validation_data=data(13)), folder / f"{number}.pt")
    distributed.destroy_process_group()

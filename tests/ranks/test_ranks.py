"""Two and three processes train as one does: the same weights, whatever the network, the batches and what goes wrong."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import at_work
from processes import free_port
from sightline.layers.normalization import NormalizedTogether

AT_WORK = Path(at_work.__file__)


def run(scenario, folder, count, expected=0, timeout=240, **environment):
    """Run a scenario in so many processes; what each saved, or said where the exit code is another one."""
    base = {name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")}
    base |= {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())} | environment
    base["PYTHONPATH"] = os.pathsep.join([str(AT_WORK.parents[1]), *filter(None, [base.get("PYTHONPATH")])])
    processes = []
    for number in range(count):
        own = {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
        processes.append(
            subprocess.Popen(
                [sys.executable, str(AT_WORK), scenario, str(folder)],
                env=base | (own if count > 1 else {}), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
    try:
        said = [process.communicate(timeout=timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()
    if expected:
        return [process.returncode for process in processes], said
    assert [process.returncode for process in processes] == [0] * count, said
    return [torch.load(folder / f"{scenario} {count} {number}.pt", weights_only=False) for number in range(count)], said


@pytest.fixture(scope="module")
def alone():
    return at_work.trained()


def assert_same(found, expected, what):
    tolerance = 1e-5 if found["weights"][0].dtype == torch.float32 else 1e-9
    assert len(found["weights"]) == len(expected["weights"])
    for one, other in zip(found["weights"], expected["weights"], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=tolerance, msg=lambda text: f"{what}: {text}")
    for name, values in expected["history"].items():
        np.testing.assert_allclose(found["history"][name], values, rtol=0, atol=2e-6, err_msg=f"{what}: {name}")


@pytest.mark.parametrize(
    ("scenario", "count"),
    [("trained", 2), *(pytest.param(name, 3, marks=pytest.mark.slow) for name in ("few", "trained"))],
)
def test_the_number_of_processes_changes_nothing(alone, tmp_path, scenario, count):
    everyone, _ = run(scenario, tmp_path, count)
    for found in everyone:
        assert {"norm False", "norm True"} <= found.keys() <= alone.keys()
        for what in found:
            assert_same(found[what], alone[what], what)
    first = everyone[0]["norm True"]["weights"]
    assert all(torch.equal(a, b) for a, b in zip(first, everyone[-1]["norm True"]["weights"], strict=True))
    assert len(alone["stopped"]["history"]["loss"]) < 9  # by one callback in each of them


@pytest.mark.slow
@pytest.mark.parametrize(
    "place", ["2.90", *(pytest.param(place, marks=pytest.mark.slow) for place in ("2", "2.40", "2.60", "2.130"))]
)
def test_memory_that_runs_out_in_one_process(alone, tmp_path, place):
    """All begin the step again with as many parts, wherever the others are."""
    everyone, said = run("out-of-memory", tmp_path, 2, SIGHTLINE_FAULT=f"oom@{place}")
    assert "Memory ran out in step 3" in said[0][0]
    assert said[1][0] == ""  # the first one speaks
    for found in everyone:
        assert_same(found["norm False"], alone["norm False"], place)
    for one, other in zip(everyone[0]["norm True"]["weights"], everyone[1]["norm True"]["weights"], strict=True):
        assert torch.equal(one, other)


def test_one_process_is_killed(tmp_path):
    codes, said = run("dies", tmp_path, 2, expected=1, timeout=120)
    assert codes[1] == -9
    assert codes[0] == 1
    assert "have lost each other" in said[0][1]
    assert "Traceback" not in said[0][1]


@pytest.mark.slow
def test_a_clock_that_differs_stops_all(tmp_path):
    everyone, _ = run("budget", tmp_path, 2)
    losses = [found["budget"]["history"]["loss"] for found in everyone]
    assert losses[0] == losses[1]
    assert len(losses[0]) < 100_000


@pytest.mark.slow
def test_a_training_goes_on_in_another_number_of_processes(alone, tmp_path):
    """From two to one, and back to two."""
    run("7", tmp_path, 2)  # within the second epoch
    run("12", tmp_path, 1)
    found, _ = run("0", tmp_path, 2)
    for each in found:
        assert_same(each["resumed"], alone["uninterrupted"], "resumed")


@pytest.mark.slow
def test_layers_that_draw_by_themselves_leave_all_alike(tmp_path):
    first, second = run("own-draws", tmp_path, 2)[0]
    for one, other in zip(first["drawn"]["weights"], second["drawn"]["weights"], strict=True):
        assert torch.equal(one, other)


@pytest.mark.slow
def test_evaluation_goes_on_where_memory_runs_out_in_one_process(tmp_path):
    """In any batch, the last one too, whatever the loss exchanges."""
    alone, _ = run("evaluated", tmp_path, 1)
    for found in run("evaluated", tmp_path, 2)[0]:
        for what, expected in alone[0].items():
            assert_same(found[what], expected, what)


@pytest.mark.slow
def test_metrics_of_ones_own_are_added_up_or_refused(tmp_path):
    for found in run("counted", tmp_path, 2)[0]:
        assert found["array"]["history"]["kept"] == [74.0]  # 37 samples, in two counters


class Sharing:
    """Stands for several processes: all of their statistics are known before."""

    def __init__(self):
        self.answers, self.asked = [], []

    def gathered(self, tensor):
        self.asked.append(tensor)
        return self.answers.pop(0) if self.answers else [tensor]


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 3, 5)])
@pytest.mark.parametrize("affine", [True, False])
def test_normalization_together_has_the_gradients_of_torchs(shape, affine):
    torch.manual_seed(0)
    x = (torch.randn(shape, dtype=torch.float64) * 3 + 50).requires_grad_()
    weight, bias = (torch.randn(4, dtype=torch.float64, requires_grad=True) if affine else None for _ in range(2))
    answers = []
    for compute in (
        lambda: torch.batch_norm(x, weight, bias, None, None, True, 0.0, 1e-3, False),
        lambda: NormalizedTogether.apply(x, weight, bias, 1e-3, Sharing(), True)[0],
    ):
        y = compute()
        wanted = [x, *([weight, bias] if affine else [])]
        answers.append([y, *torch.autograd.grad((y * torch.arange(y.numel()).view_as(y).sin()).sum(), wanted)])
    for one, other in zip(*answers, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)

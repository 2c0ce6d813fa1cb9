"""What tests of trainings that end in the middle, and of several processes, share."""

import socket

from sightline.callbacks import Callback


class EndsAt(Callback):
    """Ends a training after a step (0: never), as a loss of power would."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations == self.step:
            raise InterruptedError


def free_port():
    """A port of this machine that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]

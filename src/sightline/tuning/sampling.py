"""What a trial tries next, drawn from (seed, the trial's number): a search that goes on draws on, and two processes draw apart."""

from __future__ import annotations

from typing import Any

import numpy as np
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from .study import COPY_OF


class ByNumber(BaseSampler):
    """The tree-structured Parzen estimator (Bergstra et al., 2011) of all parameters together, seeded anew for each trial.

    After a trial whose settings were tried already the draw is uniform: in a small space the estimator repeats itself.
    """

    def __init__(self, seed: int):
        self._seed = seed
        self._own: tuple[int, BaseSampler] | None = None

    def _of(self, study: Study, trial: FrozenTrial) -> BaseSampler:
        if self._own is None or self._own[0] != trial.number:
            seed = int(np.random.default_rng((self._seed, trial.number)).integers(2**31))
            known = _is_copy(study, trial.number - 1)
            sampler = RandomSampler(seed) if known else TPESampler(seed=seed, multivariate=True, group=True)
            self._own = trial.number, sampler
        return self._own[1]

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        return self._of(study, trial).infer_relative_search_space(study, trial)

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, Any]) -> dict[str, Any]:
        return self._of(study, trial).sample_relative(study, trial, search_space)

    def sample_independent(self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: Any) -> Any:
        return self._of(study, trial).sample_independent(study, trial, param_name, param_distribution)


def _is_copy(study: Study, number: int) -> bool:
    return any(
        trial.number == number and (COPY_OF in trial.user_attrs or trial.state == TrialState.FAIL)
        for trial in study.get_trials(deepcopy=False)
    )

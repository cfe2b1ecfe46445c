"""The secrets of jobs, which the launcher's output must not show."""

from __future__ import annotations

from omegaconf import DictConfig

from trainctl.compose.job import JobSpec
from trainctl.config.masking import Masking
from trainctl.config.settings_node import secrets_in, setting
from trainctl.rundir.masked import secrets_of
from trainctl.rundir.paths import RunDir


class JobSecrets:
    """The secrets of the jobs of a sweep.

    Args:
        config: of the launcher; what it reads from the environment its jobs read, too.
    """

    def __init__(self, config: DictConfig) -> None:
        self._known = secrets_in(config)
        self._hidden = setting(config, "hidden") or ()

    def of(self, spec: JobSpec, run: RunDir | None) -> Masking:
        """Return the masking of a job: from its run's record, else from its overrides."""
        masking = Masking({}, self._hidden) if run is None else secrets_of(run)
        masking.include(self._known)
        for override in spec.overrides:
            masking.learn(override.get_key_element().lstrip("+~").replace("/", "."), override.value())
        return masking

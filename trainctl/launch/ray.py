"""Ray: actors that hold devices, each with an agent that runs one job at a time. The only file that imports Ray."""

from __future__ import annotations

import atexit
import contextlib
import importlib
import math
import os
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from trainctl.compose.job import SweepContext
from trainctl.errors import SettingError
from trainctl.launch.cluster_settings import RayConf
from trainctl.launch.remote.engine import AgentExecutor, executor_of
from trainctl.launch.remote.entry import command_of
from trainctl.launch.settings import Check, LauncherSettings, check_engine, number
from trainctl.rundir.provenance import original_cwd
from trainctl.rundir.sweep import Queued

_LEAVE_S = 15.0  # for Ray to end, and once more after its servers were killed
_SERVERS = ("gcs_server", "raylet")


class RayEngine:
    """Starts an actor for each concurrent job; Ray places the actors and assigns their devices."""

    name = "Ray"
    slots_each = 1
    jobs_each: int | None = None
    notice_s = 0.0

    def __init__(self, conf: dict[str, Any], address: Path) -> None:
        """Start or join Ray; agents read in the file `address` where the launcher is.

        Raises:
            SettingError: Ray is not installed, cannot be reached, or has no node for what is asked for.
        """
        self._ray = _import_ray()
        self._owns = not self._ray.is_initialized()
        self._actors: dict[str, tuple[Any, Any, float]] = {}
        init = {"log_to_driver": False, "include_dashboard": False, **conf["ray"]["init"]}
        # with no address Ray would join one that somebody has started on this machine
        init["address"] = init.get("address") or os.environ.get("RAY_ADDRESS") or "local"
        self._is_local = init["address"] == "local"
        if not self._is_local:
            del init["include_dashboard"]
        self._options = dict(conf["ray"]["remote"])
        asked = f"hydra.launcher.ray.init={conf['ray']['init']}"
        try:
            if self._owns:
                self._ray.init(**init)
            nodes = self._ray.nodes()
            asked = f"hydra.launcher.ray.remote={self._options}"
            self._holder = self._ray.remote(_holder_class()).options(
                **{**self._options, "max_restarts": 0, "max_task_retries": 0}
            )
            room = _room(nodes, self._options)
            self.most: int = min(room, conf["max_parallel"] or room)
        except SettingError:
            self._leave()
            raise
        except Exception as error:  # whatever Ray raises
            self._leave()
            raise SettingError(f"{asked}: {' '.join(str(error).split())[:300]}") from error
        self.most_moves: int = conf["max_moves"]
        self.obstacle: str | None = None
        self._why: dict[str, str] = {}
        self._count = 0
        gpus = float(self._options.get("num_gpus") or 0)
        self._command = command_of("Ray", address, {"gpus_per_job": math.ceil(gpus) or None})

    def submit(self, count: int) -> list[str]:
        for _ in range(count):
            self._count += 1
            name = f"actor-{self._count}"
            actor = self._holder.remote(self._command, name, original_cwd())
            self._actors[name] = actor, actor.wait.remote(), time.time()
        return [f"asked Ray for {count} actor{'s' * (count > 1)}"]

    def alive(self) -> set[str]:
        names = {reference: name for name, (_, reference, _) in self._actors.items()}
        ended, _ = self._ray.wait(list(names), num_returns=len(names), timeout=0) if names else ([], [])
        for reference in ended:
            name = names[reference]
            self._why[name] = self._outcome(reference)
            self._actors.pop(name, None)  # else the launcher has just asked how it ended
        return set(self._actors)

    def queued(self, agent: str) -> Queued | None:
        """Return what Ray has placed nowhere yet, or has just begun."""
        actor = self._actors.get(agent)
        return None if actor is None else Queued(f"Ray {agent}", "", actor[2], "no place for it yet")

    def may_live(self, agent: str) -> bool:
        return agent in self._actors

    def why_ended(self, agent: str) -> str:
        self.alive()
        return self._why.get(agent, "the connection to its agent broke")

    def last_words(self, agent: str) -> str:
        return self._why.get(agent, "")

    def close(self, *, is_last: bool) -> None:  # each launcher has actors of its own
        """End all actors, and Ray if it was started here."""
        self._leave()

    def _outcome(self, reference: Any) -> str:
        try:
            code, said = self._ray.get(reference)
        except Exception as error:  # noqa: BLE001  # whatever Ray raises of an actor or node that is gone
            return f"its actor is gone ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
        return said or f"its agent ended with exit code {code}"

    def _leave(self) -> None:
        """End all actors and the connection to Ray: within a limit, which Ray has not when its servers hang."""
        ending = threading.Thread(target=self._disconnect, name="trainctl-ray", daemon=True)
        ending.start()
        try:
            ending.join(_LEAVE_S)
        finally:  # also after another Ctrl-C
            if ending.is_alive():
                servers = self._own_processes()
                for process in servers:
                    with contextlib.suppress(psutil.Error):  # it has ended
                        process.kill()
                ending.join(_LEAVE_S if servers else 0.0)
            if ending.is_alive():
                atexit.unregister(self._ray.shutdown)  # it would wait too

    def _disconnect(self) -> None:
        for actor, *_ in self._actors.values():
            with contextlib.suppress(Exception):  # Ray may be gone
                self._ray.kill(actor)
        self._actors.clear()
        if self._owns:
            self._ray.shutdown()

    def _own_processes(self) -> list[psutil.Process]:
        """Return the servers of a Ray that was started here, and what they have started."""
        children = psutil.Process().children() if self._is_local else []
        servers = [child for child in children if child.name() in _SERVERS]
        return [*servers, *(each for server in servers for each in server.children(recursive=True))]


def _holder_class() -> type:
    """Return the actor's class, made here so that Ray sends its code: a worker imports neither trainctl nor torch."""

    class Holder:
        def __init__(self, command: list[str], name: str, directory: str) -> None:
            import os
            import subprocess

            environment = {**os.environ, "TRAINCTL_RAY_ACTOR": name}
            self.agent = subprocess.Popen(
                command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
            )

        def wait(self) -> tuple[int, str]:
            _, said = self.agent.communicate()
            lines = said.decode(errors="replace").strip().splitlines()
            return self.agent.returncode, lines[-1][:300] if lines and self.agent.returncode else ""

    return Holder


def _room(nodes: list[dict[str, Any]], options: dict[str, Any]) -> int:
    """Return how many actors fit on the nodes.

    Raises:
        SettingError: no node has what one actor asks for.
    """
    asked = {"CPU": float(options.get("num_cpus") or 1), "GPU": float(options.get("num_gpus") or 0)}
    asked |= {name: float(value) for name, value in dict(options.get("resources") or {}).items()}
    asked = {name: value for name, value in asked.items() if value}
    alive = [node["Resources"] for node in nodes if node.get("Alive")]
    room = sum(int(min(has.get(name, 0.0) / value for name, value in asked.items())) for has in alive)
    if room < 1:
        wanted = ", ".join(f"{value:g} {name}" for name, value in asked.items())
        there = "; ".join(f"{has.get('CPU', 0):g} CPU, {has.get('GPU', 0):g} GPU" for has in alive) or "none"
        raise SettingError(f"hydra.launcher.ray.remote asks for {wanted} on one node; the nodes have: {there}")
    return room


def make_ray(conf: dict[str, Any]) -> Callable[[SweepContext, LauncherSettings, Path], AgentExecutor]:
    """Return the function that makes the executor of a sweep, for checked settings."""
    return executor_of("ray", lambda address: RayEngine(conf, address))


def check_ray(options: Mapping[str, Any]) -> tuple[LauncherSettings, dict[str, Any]]:
    """Check the settings of `slots_ray`: return those of the sweep, and Ray's.

    Raises:
        SettingError: names the key, the value, and what is allowed; or Ray is not installed.
    """
    _import_ray()
    return check_engine(RayConf, options, _CHECKS)


_CHECKS: dict[str, Check] = {
    "max_parallel": number(1, whole=True, optional=True),
    "max_moves": number(0, whole=True),
}


def _import_ray() -> Any:
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # Ray's coming default; it warns until it is set
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise SettingError(
            "hydra/launcher=slots_ray needs the package ray: pip install 'hydra-trainctl[ray]'"
        ) from error

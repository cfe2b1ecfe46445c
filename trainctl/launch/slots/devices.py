"""The GPUs that this launcher may use. Neither CUDA nor HIP is initialised to find out."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from trainctl.errors import SettingError
from trainctl.launch.slots.amd import AmdReader
from trainctl.launch.slots.gpu import AMD, NVIDIA, Gpu, GpuKind, GpuReader, NoDriver, SilentDriver
from trainctl.launch.slots.nvml import NvmlReader

log = logging.getLogger(__name__)

CUDA, HIP, ROCR, ZE = "CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK"
OF_A_JOB = (CUDA, HIP, ZE)  # set for a job whose devices are of an unknown kind; ROCR counts before HIP, and stays
_HIDES_ALL = ("", "-1", "NoDevFiles")
# what the drivers of NVIDIA (also below WSL, and on a Jetson) and AMD leave in a file system
_SIGNS = ("dev/nvidiactl", "usr/lib/wsl/lib/libcuda.so.1", "dev/nvhost-gpu", "dev/nvgpu", "dev/kfd")


@dataclass(frozen=True, slots=True)
class Visible:
    """The GPUs to choose from, in order.

    Attributes:
        scope: what hides the other devices, for messages; empty when these are all of the machine.
        reader: queries the GPUs; the caller closes it. None without GPUs.
        kind: their vendor.
        unasked: what limits the choice where no library can be asked which GPUs there are; None where one was.
    """

    gpus: tuple[Gpu, ...] = ()
    scope: str = ""
    reader: GpuReader | None = None
    kind: GpuKind = NVIDIA
    unasked: Unasked | None = None

    def pick(self, name: str) -> Gpu:
        """Return the only device of that name.

        Raises:
            SettingError: there is none, or more than one; the text is the end of a sentence about the name.
        """
        found = [gpu for gpu in self.gpus if gpu.is_called(name)]
        parts = [gpu.index for gpu in self.gpus if gpu.is_part_of(name)]
        if len(found) == 1:
            return found[0]
        if found:
            raise SettingError(f"which is the beginning of {', '.join(gpu.uuid for gpu in found)}; write more of it")
        if parts:
            raise SettingError(f"which is split into MIG devices; name one of {', '.join(parts)}")
        there = ", ".join(gpu.index for gpu in self.gpus) or "none"
        raise SettingError(
            f"which is not visible here; visible GPUs: {there}{f' ({self.scope})' if self.scope else ''}"
        )


@dataclass(frozen=True, slots=True)
class Unasked:
    """GPUs of which only the environment tells.

    Attributes:
        presets: variables that limit the choice, as they are set.
        sign: what shows that there are GPUs; empty where nothing does.
    """

    presets: Mapping[str, str]
    sign: str = ""

    def pick(self, name: str) -> Gpu:
        """Return a device of that name as it stands.

        Raises:
            SettingError: a variable says what may be used, and does not name it; the text is the end of a sentence.
        """
        entry = name
        for variable in (ROCR, *OF_A_JOB):
            if variable not in self.presets:
                continue
            words = words_of(self.presets[variable])
            if entry not in words:
                raise SettingError(f"which is not in {variable}={self.presets[variable]}")
            if variable == ROCR:
                entry = str(words.index(entry))  # HIP counts within what ROCR leaves
        return Gpu(name, f"any-{re.sub(r'[^0-9A-Za-z-]', '_', name)}", "GPU", entry=entry)


def open_reader() -> GpuReader:
    """Return the reader of NVIDIA's GPUs, or of AMD's if there are none.

    Raises:
        NoDriver: there is neither driver. SilentDriver: NVIDIA's does not answer.
    """
    try:
        nvidia = NvmlReader()
    except SilentDriver:
        raise
    except NoDriver as reason:
        try:
            return AmdReader()
        except NoDriver as other:
            raise NoDriver(f"{reason}; {other}") from None
    if nvidia.gpus():
        return nvidia
    try:
        amd = AmdReader()
    except NoDriver:
        return nvidia
    nvidia.close()
    return amd


def visible_gpus(
    environment: Mapping[str, str] = os.environ,
    open_reader: Callable[[], GpuReader] = open_reader,
    *,
    is_list: bool = False,
    root: Path = Path("/"),
) -> Visible:
    """Return the GPUs that may be used: those that the environment names, in its order, else all.

    For NVIDIA that is `CUDA_VISIBLE_DEVICES`; for AMD `ROCR_VISIBLE_DEVICES`, and within that `HIP_VISIBLE_DEVICES` or,
    where it is empty, `CUDA_VISIBLE_DEVICES`.

    Args:
        environment: of this process.
        open_reader: opens the library of whatever GPUs there are.
        is_list: the slots are named one by one, so the driver need not answer.
        root: of the file system in which drivers leave their signs.

    Raises:
        SettingError: the environment names a device that is not there, or the driver does not answer.
    """
    presets = {name: environment[name] for name in (CUDA, HIP, ROCR, ZE) if name in environment}
    if CUDA in presets and all(_hides_all(preset) for preset in presets.values()):
        return Visible(scope=f"{CUDA}={presets[CUDA]!r} hides them")
    try:
        reader = open_reader()
        gpus = tuple(reader.gpus())
    except NoDriver as error:
        if isinstance(error, SilentDriver) and not is_list:
            raise SettingError(
                f"hydra.launcher.slots needs to know the GPUs, but {error}; fix that, name them as in "
                f"hydra.launcher.slots=[0,1], or set {CUDA}=-1 to run without GPUs"
            ) from error
        named = {name: preset for name, preset in presets.items() if not _hides_all(preset)}
        if presets and not named:
            return Visible(scope=f"{', '.join(f'{name}={preset}' for name, preset in presets.items())} hides them")
        return Visible(scope=str(error), unasked=Unasked(named, _sign(named, root)))
    if reader.kind is AMD:
        return _visible_of_amd(gpus, presets, reader)
    preset = presets.get(CUDA)
    if preset is None:
        return Visible(gpus, "" if gpus else f"the {reader.kind.maker} driver lists none", reader, reader.kind)
    if environment.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID" and len({gpu.name for gpu in gpus}) > 1:
        log.info("indices in %s=%s are interpreted in PCI bus order, as nvidia-smi shows them", CUDA, preset)
    return Visible(choose(gpus, preset), _scope(reader.kind, {CUDA: preset}), reader, reader.kind)


def _visible_of_amd(gpus: tuple[Gpu, ...], presets: Mapping[str, str], reader: GpuReader) -> Visible:
    """Return what HIP leaves of what ROCR leaves; a job gets its devices by their position within ROCR's list."""
    used = {}
    if ROCR in presets:
        used[ROCR] = presets[ROCR]
        gpus = choose(gpus, presets[ROCR], ROCR)
    gpus = tuple(replace(gpu, entry=str(place)) for place, gpu in enumerate(gpus))
    variable = HIP if presets.get(HIP) or CUDA not in presets else CUDA
    if presets.get(variable) is not None:
        used[variable] = presets[variable]
        by_place = [replace(gpu, index=str(place)) for place, gpu in enumerate(gpus)]
        chosen = choose(by_place, presets[variable], variable)
        gpus = tuple(gpus[int(gpu.index)] for gpu in chosen)
    scope = _scope(reader.kind, used) if used else "" if gpus else f"the {reader.kind.maker} driver lists none"
    return Visible(gpus, scope, reader, reader.kind)


def choose(installed: Sequence[Gpu], preset: str, variable: str = CUDA) -> tuple[Gpu, ...]:
    """Return those of the installed GPUs that a variable such as `CUDA_VISIBLE_DEVICES` names, in its order, each once.

    A GPU that is split into MIG devices stands for all of these. `-1` ends the list, as in CUDA, and nothing between
    two commas, or after the last, names nothing. CUDA also silently hides what follows a device that is not there; here
    that is an error.

    >>> [gpu.index for gpu in choose([Gpu("0", "GPU-a1", "A100"), Gpu("1", "GPU-b2", "A100")], "GPU-b, 0,")]
    ['1', '0']
    """
    everything = Visible(tuple(installed))
    chosen: dict[str, Gpu] = {}
    for name in words_of(preset):
        parts = [gpu for gpu in installed if gpu.is_part_of(name)]
        try:
            picked = parts or [everything.pick(name)]
        except SettingError as error:
            raise SettingError(f"{variable}={preset!r} names {name!r}, {error}") from None
        chosen |= {gpu.uuid: gpu for gpu in picked}
    return tuple(chosen.values())


def words_of(preset: str) -> list[str]:
    """Return the devices that a variable names, each once.

    >>> words_of("2, 3,2,"), words_of("1,-1,2"), words_of("NoDevFiles")
    (['2', '3'], ['1'], [])
    """
    words = [part.strip() for part in preset.split(",")]
    end = next((place for place, word in enumerate(words) if word in _HIDES_ALL and word), len(words))
    return list(dict.fromkeys(word for word in words[:end] if word))


def _hides_all(preset: str) -> bool:
    return not words_of(preset)


def _scope(kind: GpuKind, presets: Mapping[str, str]) -> str:
    return f"{', '.join(f'{name}={preset}' for name, preset in presets.items())}; indices are those of {kind.tool}"


def _sign(named: Mapping[str, str], root: Path) -> str:
    """Return what shows that there are GPUs: a variable that names some, or a driver's file."""
    for name, preset in named.items():
        return f"{name}={preset} names some"
    for sign in _SIGNS:
        if (root / sign).exists():
            return f"/{sign} is there"
    for node in sorted((root / "sys/class/drm").glob("renderD*")):
        # Intel's; the one inside of a processor is always on bus 0
        place = os.path.basename(os.path.realpath(node / "device"))
        if re.fullmatch(r"[0-9a-f]{4,}:(?!00:)[0-9a-f]{2}:.*", place) and _vendor(node) == "0x8086":
            return f"/dev/dri/{node.name} is there"
    return ""


def _vendor(node: Path) -> str:
    try:
        return (node / "device/vendor").read_text().strip()
    except OSError:
        return ""

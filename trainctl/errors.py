"""Every error that trainctl raises on purpose.

Each carries one sentence (what was asked, what is wrong, what is allowed) as its only argument, so it survives pickling
and can be raised again in another process.
"""

from __future__ import annotations


class TrainctlError(Exception):
    """Base class of all errors that trainctl raises on purpose; the text is one sentence for the user."""


class SettingError(TrainctlError, ValueError):
    """A setting (of the launcher, the page, `trainctl:`) has a value that is not allowed."""


class EditError(TrainctlError, ValueError):
    """An edit of a running run is refused; nothing was changed."""


class ChangelogError(TrainctlError, ValueError):
    """A file that should be a changelog is not one."""


class DriftError(TrainctlError, ValueError):
    """A replay's base config differs from the config that this run was started with."""


class RunDirError(TrainctlError, OSError):
    """A run dir cannot be made, read or written."""


class UnreadableError(RunDirError):
    """A file of a run cannot be read.

    Attributes:
        why: the reason without the path, for a place where the file is known.
    """

    why: str = ""


class JobError(TrainctlError, RuntimeError):
    """A job ended without a return value: it was killed, it exited, or what it returned or raised cannot be pickled."""


class RankError(TrainctlError, RuntimeError):
    """The ranks of a distributed run are not at the same step, or rank 0 could not go on."""


class PairError(TrainctlError, ValueError):
    """Two options of config groups do not go together, or the rules registered for them contradict each other."""


class IncompatibleError(PairError):
    """Two options of config groups do not go together."""


class MissingError(TrainctlError, ValueError):
    """Values that a run needs are missing (`???`)."""


class AppError(TrainctlError, ValueError):
    """A Hydra program cannot be looked at."""


class ScriptError(TrainctlError, ValueError):
    """A `ConfigScript` cannot be unrolled, or has no such key."""


class SourceError(TrainctlError, ValueError):
    """An earlier run or a file of another format cannot be read as a config."""


class CommandError(TrainctlError, RuntimeError):
    """A command of a pipeline cannot be written out, is not there, or has failed.

    Attributes:
        output: the end of what it printed, for people.
        signal: the name of the signal that ended it.
    """

    output: str = ""
    signal: str | None = None

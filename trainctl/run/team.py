"""Finding the other ranks of a run."""

from __future__ import annotations

import importlib
import logging

from trainctl.errors import SettingError
from trainctl.run.agreement import Agree, Agreement, Failure
from trainctl.run.follower import Follower
from trainctl.run.leader import Leader
from trainctl.run.rank import distributed, rank, world_size
from trainctl.run.session import Session

log = logging.getLogger(__name__)

_BY_TORCH = "trainctl.frameworks.ranks"  # imported only in a process that has initialised torch.distributed


def find(agree: Agree | None, every: int) -> Agreement | None:
    """Return the agreement of all ranks: by `agree` if given, else by torch.distributed; None where neither is there.

    All ranks must call it at the same time: with torch.distributed they make a process group here.
    """
    torch = distributed()
    if agree is None and torch is not None and torch.get_world_size() > 1:
        agree = importlib.import_module(_BY_TORCH).make_agree()
    return None if agree is None else Agreement(agree, every)


def join(member: Session | Follower, agreement: Agreement) -> Leader | Follower:
    """Return what begins the steps of this rank from now on."""
    if isinstance(member, Follower):
        member.agreement = agreement
        return member
    return Leader(member, agreement)


def give_up(agree: Agree | None, reason: str) -> None:
    """Tell the other ranks why rank 0 has no session: they would wait for it. They find it as they open their own."""
    agreement = find(agree, 1)
    if agreement is not None:
        agreement.begin(0)
        agreement.say(Failure(reason))
        agreement.end(None)


def check_alone() -> None:
    """Refuse to train on where other ranks would not hear of edits; called at the first step without an agreement.

    Raises:
        SettingError: the environment says that there are other ranks.
    """
    if world_size() > 1:
        raise SettingError(
            f"this is one of {world_size()} ranks (WORLD_SIZE), and they cannot agree on edits: initialise "
            "torch.distributed before the first live.step(), or give trainctl.live(cfg, agree=…)"
        )
    if rank() != 0:
        log.warning("this is rank %d, and it does not hear of edits: torch.distributed is not initialised", rank())

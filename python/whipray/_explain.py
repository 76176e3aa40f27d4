"""Why something waits: ``whipray.explain``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from whipray import _core, _session

__all__ = ["Explanation", "Step", "explain"]


@dataclass(frozen=True)
class Step:
    """One thing on the way from what was asked about to what it waits for in the end.

    ``code`` is one of the reason codes of the reference, ``subject`` the id of the object, task or
    actor in hexadecimal, ``seconds`` for how long it has been so (None where nobody knows),
    ``authority`` who decides on it, ``depth`` how far it is from what was asked about.
    """

    code: str
    subject: str
    seconds: float | None
    authority: str
    text: str
    depth: int

    def __str__(self) -> str:
        since = "" if self.seconds is None else f", for {self.seconds:.1f} s"
        return f"{'  ' * self.depth}{self.code}{since}: {self.text} (decided by {self.authority})"


@dataclass(frozen=True)
class Explanation:
    """Why an object, task or actor is where it is.

    ``kind`` is ``object``, ``task`` or ``actor``. ``steps`` begin with what was asked about; what
    it waits for follows, one level deeper. ``cycle`` has a sentence for each member of a wait-for
    cycle, where that is why it will never go on.
    """

    subject: str
    kind: str
    steps: list[Step] = field(default_factory=list)
    cycle: list[str] = field(default_factory=list)

    @property
    def code(self) -> str:
        """The reason code of what was asked about."""
        return self.steps[0].code if self.steps else "NOT_KNOWN"

    @property
    def seconds(self) -> float | None:
        """For how long it has been so."""
        return self.steps[0].seconds if self.steps else None

    @property
    def authority(self) -> str:
        """Who decides on it."""
        return self.steps[0].authority if self.steps else "nobody"

    @property
    def text(self) -> str:
        """What it waits for, as a sentence."""
        return self.steps[0].text if self.steps else ""

    def __str__(self) -> str:
        return "\n".join([f"{self.kind} {self.subject}", *map(str, self.steps)])


def explain(subject: Any) -> Explanation:
    """Say what an object, a task or an actor waits for, since when, and who decides.

    ``subject`` is an ObjectRef, an actor's handle, an id, or the hexadecimal text of one. Asks the
    processes concerned, and takes a few seconds at most where one of them does not answer.

    Raises TypeError for something else, and ValueError for text that is no id.
    """
    _session.ensure()
    identity = _identity(subject)
    found = _core.explain(identity)
    if found is None:
        raise ValueError(f"{subject!r} is not the id of an object, a task or an actor")
    steps = [Step(**step) for step in found["steps"]]
    return Explanation(found["subject"], found["kind"], steps, found["cycle"])


def _identity(subject: Any) -> bytes:
    from whipray.actor import ActorHandle

    if isinstance(subject, str):
        try:
            return bytes.fromhex(subject)
        except ValueError:
            raise ValueError(f"{subject!r} is not the hexadecimal text of an id") from None
    if isinstance(subject, ActorHandle):
        identity: bytes = subject._actor_id.binary()
        return identity
    binary = getattr(subject, "binary", None)
    if binary is None:
        raise TypeError(
            f"explain() takes an ObjectRef, an actor's handle or an id, not {type(subject)}"
        )
    return bytes(binary())

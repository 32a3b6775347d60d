"""Epochs and key rotations of the test network: a clock that really advances.

docs/protocol/04 §4.5 and §10.2: an epoch has a fixed length; a key rotation lasts `validity_epochs` of
them; `rotation = (epoch - initial_epoch) div validity_epochs`. The default length is weeks, so that nothing
rotates under a test that did not ask for it. Asking for a rotation moves the clock to the first instant of
the next one.

Times are Unix seconds (float), given by the caller.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

DEFAULT_EPOCH_SECONDS: Final = 7 * 24 * 3600.0
DEFAULT_VALIDITY_EPOCHS: Final = 24
EPOCHS_IN_INTERVAL: Final = 720


@dataclass(frozen=True, slots=True)
class EpochClock:
    """Where the network stood at one instant, from which every other instant follows."""

    epoch_seconds: float
    validity_epochs: int
    initial_epoch: int
    anchor_epoch: int
    anchor_unix: float
    """start of `anchor_epoch`"""

    @classmethod
    def starting(
        cls,
        rotation_id: int,
        now_unix: float,
        *,
        epoch_seconds: float = DEFAULT_EPOCH_SECONDS,
        validity_epochs: int = DEFAULT_VALIDITY_EPOCHS,
    ) -> EpochClock:
        """A clock whose rotation `rotation_id` begins now (rounded down to a whole second, as published)."""
        if epoch_seconds <= 0 or validity_epochs < 1 or rotation_id < 0:
            raise ValueError("epochs have a positive length, rotations at least one epoch, ids start at 0")
        return cls(epoch_seconds, validity_epochs, 0, rotation_id * validity_epochs, float(int(now_unix)))

    def epoch_at(self, now_unix: float) -> int:
        """Absolute number of the epoch that `now_unix` lies in."""
        return self.anchor_epoch + int((now_unix - self.anchor_unix) // self.epoch_seconds)

    def epoch_start(self, epoch: int) -> float:
        """Unix time at which an epoch begins."""
        return self.anchor_unix + (epoch - self.anchor_epoch) * self.epoch_seconds

    def rotation_of(self, epoch: int) -> int:
        """The key rotation that an epoch belongs to; 0 before the first."""
        return max(0, (epoch - self.initial_epoch) // self.validity_epochs)

    def rotation_at(self, now_unix: float) -> int:
        """The key rotation at an instant."""
        return self.rotation_of(self.epoch_at(now_unix))

    def first_epoch(self, rotation_id: int) -> int:
        """The first epoch of a rotation."""
        return self.initial_epoch + rotation_id * self.validity_epochs

    def rotation_start(self, rotation_id: int) -> float:
        """Unix time at which a rotation begins."""
        return self.epoch_start(self.first_epoch(rotation_id))

    def moved_to_rotation(self, rotation_id: int, now_unix: float) -> EpochClock:
        """A clock on which that rotation begins now; epochs in between are skipped."""
        if rotation_id <= self.rotation_at(now_unix):
            raise ValueError("key rotations only go forward")
        return replace(self, anchor_epoch=self.first_epoch(rotation_id), anchor_unix=float(int(now_unix)))

"""What a signer checks, in its order, and the words in which it refuses (docs/protocol/09 §2–§7).

Pure. `SignerRules` looks at the chain through its contracts, which live in the same process; the clock is an argument.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Final

from nym_credentials.signers import refusals
from nym_credentials.signers.tickets import Rejection, SpentDates, VerifyTicketAnswer
from nym_localnet.chain.dkg_contract import DkgContract, KeyShare
from nym_localnet.chain.ecash_contract import EcashContract
from nym_localnet.ecash.key_epochs import EpochKeys, KeyEpochs
from nym_localnet.errors import LocalnetError
from zknym import (
    BlindedSignature,
    DepositSignatureInvalid,
    EcashError,
    SignerKeys,
    SignRequest,
    SpendingCredential,
    blind_sign,
    default_expiration,
    encode_date,
)
from zknym.curve import encode_g1

BAD_REQUEST: Final = 400
GRACE_HOUR: Final = 1
"""before 01:00 UTC a ticket of any date is taken"""


class SignerRefused(LocalnetError):
    """A request is refused with a status and a plain text."""

    def __init__(self, text: str, status: int = BAD_REQUEST) -> None:
        super().__init__(text)
        self.text = text
        self.status = status


def utc_day(now_unix: float) -> date:
    """The day in UTC."""
    return datetime.fromtimestamp(now_unix, UTC).date()


class SignerRules:
    """The checks of one signer."""

    def __init__(
        self, owner: str, index: int, *, dkg: DkgContract, ecash: EcashContract, keys: KeyEpochs
    ) -> None:
        self.owner = owner
        self.index = index
        self._dkg = dkg
        self._ecash = ecash
        self.key_epochs = keys
        self.disabled = False

    # Guards

    @property
    def epoch_id(self) -> int:
        """The current epoch."""
        return self._dkg.current_epoch

    @property
    def is_signer(self) -> bool:
        """Whether it owns a share of the current epoch."""
        return self._share() is not None

    @property
    def has_keys(self) -> bool:
        """Whether it has keys for the current epoch."""
        keys = self.key_epochs.epoch(self.epoch_id)
        return keys is not None and keys.signer(self.index) is not None

    def guard_signer(self) -> None:
        """Raises `SignerRefused` unless this is an active signer."""
        if self.disabled or not self.is_signer:
            raise SignerRefused(refusals.NOT_A_SIGNER)

    def guard_idle(self) -> None:
        """Raises `SignerRefused` while keys are being made."""
        if not self._dkg.in_progress:
            raise SignerRefused(refusals.DKG_RUNNING)

    def own_keys(self) -> SignerKeys:
        """The keys of the current epoch. Raises `SignerRefused` when there are none."""
        keys = self.key_epochs.epoch(self.epoch_id)
        found = None if keys is None else keys.signer(self.index)
        if found is None:
            raise SignerRefused(refusals.NO_KEYS_YET)
        return found

    def _share(self) -> KeyShare | None:
        epoch = self._dkg.epoch(self.epoch_id)
        return next((each for each in epoch.shares if each.owner == self.owner), None) if epoch else None

    # Books

    def check_issuance(self, request: SignRequest, today: date) -> None:
        """What is checked before the signer looks whether it has answered this deposit already."""
        self.guard_signer()
        self.own_keys()
        if request.expiration > default_expiration(today):
            raise SignerRefused(refusals.DATE_TOO_LATE)
        self.guard_idle()

    def issue(self, request: SignRequest) -> BlindedSignature:
        """The share for a deposit that was not answered yet. Takes tens of milliseconds."""
        deposit_key = self._ecash.deposit_key(request.deposit_id)
        if deposit_key is None:
            raise SignerRefused(refusals.unknown_deposit(request.deposit_id))
        try:
            request.verify(deposit_key)
            expiration = encode_date(request.expiration)
            return blind_sign(
                self.own_keys().secret, request.user, request.request, expiration, request.ticket_type
            )
        except DepositSignatureInvalid as error:
            raise SignerRefused(refusals.SIGNATURE_WRONG) from error
        except EcashError as error:
            raise SignerRefused(refusals.ecash_failed(str(error))) from error

    # Public signatures

    def check_expiration(self, expiration: date, today: date) -> None:
        """The dates for which signatures are made anew."""
        if expiration < today:
            raise SignerRefused(refusals.DATE_TOO_EARLY)
        if expiration > default_expiration(today) + timedelta(days=1):
            raise SignerRefused(refusals.DATE_TOO_LATE)

    def epoch_keys(self, epoch_id: int | None) -> EpochKeys:
        """The keys of an epoch, the current one by default. Raises `SignerRefused` for one that never was."""
        wanted = self.epoch_id if epoch_id is None else epoch_id
        keys = self.key_epochs.epoch(wanted)
        if keys is None:
            raise SignerRefused(refusals.chain_failed(f"there are no shares of epoch {wanted}"))
        return keys

    def check_own_epoch(self, epoch_id: int | None) -> int:
        """A share is only made for the current epoch."""
        if epoch_id is not None and epoch_id != self.epoch_id:
            raise SignerRefused(refusals.wrong_epoch(epoch_id, self.epoch_id))
        return self.epoch_id

    # Tickets

    def check_ticket(self, credential: SpendingCredential, now_unix: float) -> VerifyTicketAnswer | None:
        """What is checked before the signer looks whether it knows the ticket; None goes on."""
        self.guard_signer()
        if credential.payment.spend_value != 1:
            return VerifyTicketAnswer(Rejection.MULTIPLE)
        now = datetime.fromtimestamp(now_unix, UTC)
        today, yesterday = now.date(), now.date() - timedelta(days=1)
        received = credential.spend_date
        # As the reference has it: after one in the morning, today's and yesterday's.
        if received != today and now.hour >= GRACE_HOUR and received != yesterday:
            return VerifyTicketAnswer(Rejection.INVALID_SPENT_DATE, SpentDates(today, yesterday, received))
        return None

    def known_ticket(self, stored_pay_info: bytes, credential: SpendingCredential) -> VerifyTicketAnswer:
        """A ticket whose serial number is in the table: sent again, or spent again."""
        same = stored_pay_info == credential.pay_info.encode()
        return VerifyTicketAnswer(Rejection.REPLAYED if same else Rejection.DOUBLE_SPEND)

    def verify_ticket(self, credential: SpendingCredential) -> VerifyTicketAnswer:
        """The cryptography. Takes tens of milliseconds."""
        keys = self.key_epochs.epoch(credential.epoch_id)
        if keys is None:
            return VerifyTicketAnswer(Rejection.INVALID)
        try:
            credential.verify(keys.master)
        except EcashError:
            return VerifyTicketAnswer(Rejection.INVALID)
        return VerifyTicketAnswer()


def serial_of(credential: SpendingCredential) -> bytes:
    """48 bytes: what two payments with the same ticket have in common."""
    return encode_g1(credential.payment.serial_numbers[0])

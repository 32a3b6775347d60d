"""Buying ticketbooks so that no crash loses a deposit (docs/protocol/08 §7, docs/protocol/10 §3).

``smartcontract_buyer_io.smart_contract_buyer`` puts everything together; ``buyer_io.Buyer`` is what it makes. From
the bottom up: ``states`` (the life of a purchase as a table), ``records`` (what is stored of it), ``ports`` (what is
needed of a store and of the list of signers), ``shares`` (answers of signers, kept apart by epoch), ``steps`` (the
persistence points), then the two halves of a purchase, ``payment_io`` (PLANNED … DEPOSITED) and ``issuing_io``
(DEPOSITED … ISSUED). ``directory_io`` reads the signers from the chain, ``turn_io`` lets one process buy at a time.
"""

"""Speaking with the signers of ticketbooks over HTTP (docs/protocol/09).

The codec is pure and works both ways: ``wire`` (JSON and bincode), ``issuance``, ``tickets``, ``status``, ``audits``
(bodies), ``envelope`` (signed ones), ``routes``, ``refusals`` (the words of refusals and what they mean). ``epoch``
is who signs in an epoch. ``client_io`` asks one signer, ``pool_io`` all of them.
"""

"""The test network's signers, and what its gateways do with tickets (docs/protocol/09, 03 §9).

Signers issue books against deposits on the network's chain and tell gateways whether a ticket is good; gateways take
tickets, meter, and punish what signers reject. Modules named `*_io` serve and ask; the rest is pure.
"""

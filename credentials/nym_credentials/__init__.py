"""Gets zk-nym ticketbooks with $NYM and hands out their tickets, one at a time.

Wallet and chain, signers, purchases that survive any crash, the ticket store. Knows nothing of packets or proxies.
"""

"""The ticket store: books, tickets, purchases and public data in one database that is sealed at rest.

``records`` has the types, ``store_io.TicketStore`` the store, ``upkeep_io`` what a process does that is alone with a
store (another schema, another database). From the bottom up: ``keys``, ``sealing`` (pure), ``tables_io``,
``migrations``, ``database_io``, ``postgres_io``, ``witness_io`` (the guard against restored backups and copies), then
one module for each thing that is kept: ``books_io``, ``ledger_io`` (of tickets), ``purchases_io``, ``spendings_io``
(the ledger of money), ``public_data_io``, ``gateways_io``; and two for fleets: ``leases_io`` and ``turns_io``.
"""

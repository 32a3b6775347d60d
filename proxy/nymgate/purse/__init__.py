"""What pays for traffic: account, ticket store, budget and top-up, as a running proxy and the commands use them."""

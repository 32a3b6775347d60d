"""For applications: variables, PAC file, confinement to the proxy, and the library with its adapters."""

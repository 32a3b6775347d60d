"""The tables of the configuration file, a module for each area. ``nymgate.config`` puts them together."""

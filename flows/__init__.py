"""Prefect flows, settings and the command line over the other three packages."""

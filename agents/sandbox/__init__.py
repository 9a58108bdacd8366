"""Where code that a model wrote runs: without network, files, secrets or time of this machine's."""

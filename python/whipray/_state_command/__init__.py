"""``whipray list``, ``whipray get`` and ``whipray summary``: the state API on the command line."""

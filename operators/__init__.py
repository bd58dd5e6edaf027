"""Pure operators: Arrow in, Arrow out. No engine, no network, no files but the local resources handed to `open`."""

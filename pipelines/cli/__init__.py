"""Commands of `gristmill`: arguments, help, messages and exit codes; the work itself belongs in the other packages."""

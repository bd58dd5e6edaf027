"""Start the command line: `python -m gristmill`."""

from gristmill.pipelines.cli.main import main

if __name__ == "__main__":
    main()

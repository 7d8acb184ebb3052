"""`python -m bigmodel_lib` is the command `bigmodel`."""

from bigmodel_lib.cli.main import main

if __name__ == "__main__":
    main()

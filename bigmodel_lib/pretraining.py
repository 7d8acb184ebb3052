"""The first edition's command; it names the one of today."""

from bigmodel_lib.cli.main import moved

if __name__ == "__main__":
    moved("pretraining", "pretrain")

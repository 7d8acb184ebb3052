"""What a teacher runs: `make course` hands notebooks out, `make class-sheet` says who solved what."""

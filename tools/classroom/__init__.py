"""What a teacher runs: `make class-sheet` reads students' notebooks and says who solved what."""

"""train/rl: reinforcement learning on answers that a program can check. Importing it loads no torch."""
